"""Discovery: from declarations to modules that can run, and the reasons for those that cannot."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stylobate.config import Sources
from stylobate.declarations.model import Declarations, Finding, ModuleDeclaration
from stylobate.logs import get_logger
from stylobate.modules.actions import read_written
from stylobate.modules.coded import with_code
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.loaded import LoadedModule

from stylobate_actions.model import Discovery, ModuleFailure

_log = get_logger("app")


class ActionDiscoveryManager:
    """Imports the code of every declared module and binds its actions. One that fails stops no other."""

    def __init__(self, sources: Sources, packages: Mapping[Path, str]) -> None:
        """Take where settings and secrets of modules come from, and modules that are installed packages, by folder."""
        self._sources = sources
        self._packages = packages

    async def discover(self, declarations: Declarations) -> Discovery:
        """Load the modules in dependency order. Every failure is logged with its findings."""
        failures = {failure.name: failure for failure in _undeclared(declarations)}
        loaded: list[LoadedModule] = []
        # importing may take long and the loop serves other services; what follows is quick and belongs to the loop
        for module in await asyncio.to_thread(with_code, declarations, self._packages, also_broken=False):
            declaration = module.declaration
            missing = [name for name in declaration.dependencies if name in failures]
            if missing:
                failures[declaration.name] = _dependent(declaration, missing)
                _log.error("module_left_out", module=declaration.name, error=failures[declaration.name].detail)
                continue
            try:
                loaded.append(LoadedModule.load(module, self._sources))
            except ModuleLoadError as error:
                findings = [str(finding) for finding in error.findings]
                _log.error("module_left_out", module=declaration.name, findings=findings, exc_info=error.__cause__)
                failures[declaration.name] = _failure(declaration.name, error.findings, declaration)
        return Discovery(tuple(loaded), tuple(failures.values()))


def _undeclared(declarations: Declarations) -> list[ModuleFailure]:
    """Return the modules that the loader left out."""
    broken = {one.name: replace(one, actions=(*one.actions, *read_written(one))) for one in declarations.broken}
    return [_failure(name, findings, broken.get(name)) for name, findings in declarations.left_out.items()]


def _failure(name: str, findings: Sequence[Finding], declaration: ModuleDeclaration | None) -> ModuleFailure:
    count = len(findings)
    detail = f"{count} finding{'s' if count != 1 else ''}; `stylobate modules check` shows them"
    return ModuleFailure(name, detail, declaration, tuple(findings))


def _dependent(declaration: ModuleDeclaration, missing: Sequence[str]) -> ModuleFailure:
    detail = f"depends on {', '.join(missing)}, which did not load"
    finding = Finding(str(declaration.folder / "module.yaml"), 1, detail)
    return ModuleFailure(declaration.name, detail, declaration, (finding,))
