"""Where a module keeps data of its own: the schema, or the database of MongoDB, that ``database`` in its module.yaml asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from stylobate.database import MigrationSet
from stylobate.database.address import is_mongodb
from stylobate.database.refusal import URL
from stylobate.declarations.model import ModuleDeclaration
from stylobate.declarations.own_database import MIGRATIONS

DATABASES = "STYLOBATE_ACTIONS_MODULE_DATABASES"
MODULES = "module_"
"""How the names of what modules keep data of their own in begin."""
_KINDS = {False: "PostgreSQL", True: "MongoDB"}


@dataclass(frozen=True, slots=True)
class ModuleSchema:
    """The one of a module."""

    module: str
    url: str
    setting: str
    """That the URL comes from."""
    migrations: tuple[MigrationSet, ...]

    @property
    def name(self) -> str:
        """What it is called, as a service's is called like the service."""
        return f"{MODULES}{self.module}"

    @classmethod
    def of(cls, declaration: ModuleDeclaration, urls: Mapping[str, str], own: str) -> Self:
        """Return that of a module that declares a database.

        :param urls: of modules that have one apart. :param own: the URL of the service that runs modules.
        :raises ValueError: the URL leads to a database of the other kind.
        """
        url, setting = (urls[declaration.name], DATABASES) if declaration.name in urls else (own, URL)
        is_for_mongodb = declaration.database == "mongodb"
        if is_mongodb(url) is not is_for_mongodb:
            wanted, there = _KINDS[is_for_mongodb], _KINDS[not is_for_mongodb]
            raise ValueError(
                f"`database: {declaration.database}`, and {setting} leads to {there}: "
                f"{DATABASES} gives the module a {wanted}: {declaration.name}={declaration.database}://…"
            )
        folder = declaration.folder / MIGRATIONS
        sets = (MigrationSet(declaration.name, folder),) if folder.is_dir() else ()
        return cls(declaration.name, url, setting, sets)
