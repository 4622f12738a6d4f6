"""The databases that modules keep data of their own in: opened with the service, one for each module that declares one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from stylobate.app.module_schema import ModuleSchema
from stylobate.app.storage import PostgresStorage, Storage
from stylobate.declarations.model import Finding
from stylobate.errors import StylobateError
from stylobate.logs import get_logger
from stylobate.modules.containment import told
from stylobate.modules.database import ModuleDatabase
from stylobate.modules.loaded import LoadedModule

from stylobate_actions.model import Discovery, ModuleFailure
from stylobate_actions.store.postgres_modules import PostgresModuleDatabase

_log = get_logger("app")


class _App(Protocol):
    async def module_storage(self, schema: ModuleSchema) -> Storage: ...


class ModuleDatabases:
    """Those that are open."""

    def __init__(self) -> None:
        self.of: dict[str, ModuleDatabase] = {}
        """By the names of modules."""
        self._outages: list[Callable[[BaseException], StylobateError | None]] = []

    async def open(self, app: _App, discovery: Discovery, urls: Mapping[str, str], own: str) -> Discovery:
        """Open them; return what was discovered, without the modules whose database is none that they can work in.

        :param urls: of modules that have one apart. :param own: the URL of this service.
        """
        failures = []
        for module in discovery.loaded:
            if not module.declaration.database:
                continue
            try:
                self.of[module.name] = self._database(module, await app.module_storage(_schema(module, urls, own)))
            except Exception as error:  # noqa: BLE001  whatever it is, it is this module's own
                failures.append(_failure(module, error))
        if not failures:
            return discovery
        out = {failure.name for failure in failures}
        loaded = tuple(module for module in discovery.loaded if module.name not in out)
        return replace(discovery, loaded=loaded, failures=(*discovery.failures, *failures))

    def outage(self, error: BaseException) -> BaseException:
        """Return what a caller is told of an error that module code let through: while its database is away, that it is."""
        return next((found for outage_of in self._outages if (found := outage_of(error))), error)

    def _database(self, module: LoadedModule, storage: Storage) -> ModuleDatabase:
        if isinstance(storage, PostgresStorage):
            return PostgresModuleDatabase.of(module.name, storage.database)
        from stylobate_actions.store.mongodb_modules import MongoModuleDatabase, outage_of  # noqa: PLC0415  its driver

        if outage_of not in self._outages:
            self._outages.append(outage_of)
        return MongoModuleDatabase(module.name, storage.database)


def _schema(module: LoadedModule, urls: Mapping[str, str], own: str) -> ModuleSchema:
    return ModuleSchema.of(module.declaration, urls, own)


def _failure(module: LoadedModule, error: Exception) -> ModuleFailure:
    declaration = module.declaration
    text = str(error) if isinstance(error, ValueError) else f"its database: {told(error)}"
    finding = Finding(str(declaration.folder / "module.yaml"), declaration.database_line, " ".join(text.split()))
    _log.error("module_left_out", module=module.name, findings=[str(finding)])
    return ModuleFailure(module.name, "its database cannot be used; the log says more", declaration, (finding,))
