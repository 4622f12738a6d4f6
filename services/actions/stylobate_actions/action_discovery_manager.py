"""Discovery: from declarations to modules that can run, and the reasons for those that cannot."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from stylobate.declarations.model import Declarations, ModuleDeclaration, Severity
from stylobate.logs import get_logger
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.importing import module_class
from stylobate.modules.loaded import LoadedModule

from stylobate_actions.model import Discovery, ModuleFailure

_log = get_logger("app")


class ActionDiscoveryManager:
    """Imports the code of every declared module and binds its actions. One that fails stops no other."""

    def __init__(self, environ: Mapping[str, str], packages: Mapping[Path, str]) -> None:
        """Take where settings of modules come from, and modules that are installed packages, by folder."""
        self._environ = environ
        self._packages = packages

    async def discover(self, declarations: Declarations) -> Discovery:
        """Load the modules in dependency order. Every failure is logged with its findings."""
        failures = {failure.name: failure for failure in _undeclared(declarations)}
        loaded: list[LoadedModule] = []
        for declaration in declarations.modules:
            missing = [name for name in declaration.dependencies if name in failures]
            if missing:
                detail = f"depends on {', '.join(missing)}, which did not load"
                failures[declaration.name] = ModuleFailure(declaration.name, detail, declaration)
                _log.error("module_left_out", module=declaration.name, error=detail)
                continue
            try:
                loaded.append(await self._load(declaration))
            except ModuleLoadError as error:
                _log.error(
                    "module_left_out",
                    module=declaration.name,
                    findings=[str(finding) for finding in error.findings],
                    exc_info=error.__cause__,
                )
                count = len(error.findings)
                detail = f"{count} finding{'s' if count != 1 else ''}; `stylobate modules check` shows them"
                failures[declaration.name] = ModuleFailure(declaration.name, detail, declaration)
        return Discovery(tuple(loaded), tuple(failures.values()))

    async def _load(self, declaration: ModuleDeclaration) -> LoadedModule:
        # importing may take long and the loop serves other services; what follows is quick and belongs to the loop
        await asyncio.to_thread(module_class, declaration, self._packages)
        return LoadedModule.load(declaration, self._environ, self._packages)


def _undeclared(declarations: Declarations) -> list[ModuleFailure]:
    """Return the modules that the loader left out, named by their folders."""
    known = {module.folder.resolve() for module in declarations.modules}
    counts: dict[Path, int] = {}
    for finding in declarations.findings:
        folder = Path(finding.file).parent
        if finding.severity is Severity.ERROR and folder.resolve() not in known and Path(finding.file).suffix:
            counts[folder] = counts.get(folder, 0) + 1
    return [
        ModuleFailure(folder.name, f"{count} finding{'s' if count != 1 else ''}; `stylobate modules check` shows them")
        for folder, count in counts.items()
    ]
