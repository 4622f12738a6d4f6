"""Checking modules: everything that would keep one from running, and what is probably not meant."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from stylobate.declarations import Declarations, load_declarations
from stylobate.declarations.model import Finding, ModuleDeclaration, Severity
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.events import event_types
from stylobate.modules.importing import module_class, packages_of
from stylobate.modules.loaded import LoadedModule, examine


def check_modules(
    modules: str, environ: Mapping[str, str] | None = None, on_import: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Return every finding of every module, causes first: declarations, imports, handlers, hooks, settings, configuration.

    Imports each ``module.py`` and makes its class, so their code runs; nothing is initialized (see :mod:`.rehearsal`).

    :param modules: the setting: folders separated by the path separator, packages as ``package:name``.
    :param environ: where settings of modules come from; None: settings and configuration are left alone.
    :param on_import: is told each file of code before it is run.
    """
    declarations = load_declarations(modules)
    packages = packages_of(modules)
    types = known_types(declarations)
    findings = list(declarations.findings)
    for declaration in (*declarations.modules, *declarations.broken):
        on_import(str(declaration.folder / "module.py"))
        findings += code_findings(declaration, packages, types)
    failed = {Path(finding.file).parent for finding in findings if finding.severity is Severity.ERROR}
    for declaration in declarations.modules:
        if environ is not None and declaration.folder not in failed:
            try:
                LoadedModule.load(declaration, environ, packages, types)
            except ModuleLoadError as error:
                findings += error.findings
    return in_order(findings)


def in_order(findings: Collection[Finding]) -> list[Finding]:
    """Return the findings, each once, causes before what follows from them."""
    return sorted(dict.fromkeys(findings), key=lambda finding: (finding.follows, finding.file, finding.line))


def known_types(declarations: Declarations) -> frozenset[str] | None:
    """Return the types of all events that there ever are; None where that cannot be known."""
    modules = (*declarations.modules, *declarations.broken)
    if any("namespaces" in declaration.doubtful for declaration in modules):
        return None
    return event_types(namespace.name for module in modules for namespace in module.namespaces)


def code_findings(declaration: ModuleDeclaration, packages: Mapping[Path, str], types: Collection[str] | None) -> list[Finding]:
    """Return what is wrong with the module's code, as far as it can be said without running its methods."""
    try:
        owner = module_class(declaration, packages)
    except ModuleLoadError as error:
        return list(error.findings)
    return examine(declaration, owner, types).findings
