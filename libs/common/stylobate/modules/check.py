"""Checking modules: everything that would keep one from running, and what is probably not meant."""

from collections.abc import Callable, Collection
from pathlib import Path

from stylobate.config import Sources
from stylobate.declarations import Declarations, load_declarations
from stylobate.declarations.model import Finding, Severity
from stylobate.declarations.sources import packages_of
from stylobate.modules.coded import with_code
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.events import event_types
from stylobate.modules.loaded import LoadedModule, examine


def check_modules(
    modules: str, sources: Sources | None = None, on_import: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Return every finding of every module, causes first: declarations, imports, handlers, hooks, settings, configuration.

    Imports each ``module.py`` and makes its class, so their code runs; nothing is initialized (see :mod:`.rehearsal`).

    :param modules: the setting: folders separated by the path separator, packages as ``package:name``.
    :param sources: of settings and secrets of modules; None: they and configuration are left alone.
    :param on_import: is told each file of code before it is run.
    """
    declarations = load_declarations(modules)
    types = known_types(declarations)
    findings = list(declarations.findings)
    coded = with_code(declarations, packages_of(modules), on_import)
    for module in coded:
        findings += module.findings
        findings += module.error.findings if module.error else examine(module.declaration, module.owner, types).findings
    failed = {Path(finding.file).parent for finding in findings if finding.severity is Severity.ERROR}
    for module in coded:
        if sources is not None and module.declaration.folder not in failed:
            try:
                LoadedModule.load(module, sources, types)
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
    return event_types(namespace.name for module in modules for namespace in module.namespaces if namespace.ttl is None)
