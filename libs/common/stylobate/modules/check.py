"""Checking modules without running them as a service: what ``stylobate modules check`` prints."""

from pathlib import Path

from stylobate.declarations import load_declarations
from stylobate.declarations.model import Finding, ModuleDeclaration
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.importing import module_class, packages_of
from stylobate.modules.loaded import examine


def check_modules(modules: str) -> list[Finding]:
    """Return every finding of every module, ordered by file and line: declarations, imports, handlers, hooks.

    Imports each ``module.py``, so its top-level code runs.

    :param modules: the setting: folders separated by the path separator, packages as ``package:name``.
    """
    declarations = load_declarations(modules)
    packages = packages_of(modules)
    findings = list(declarations.findings)
    for declaration in declarations.modules:
        findings += _code_findings(declaration, packages)
    return sorted(findings, key=lambda finding: (finding.file, finding.line))


def _code_findings(declaration: ModuleDeclaration, packages: dict[Path, str]) -> list[Finding]:
    try:
        owner = module_class(declaration, packages)
    except ModuleLoadError as error:
        return list(error.findings)
    return examine(declaration, owner).findings
