"""``ctx.database``: the database that a module keeps data of its own in, beside state objects.

Which kind it is says ``database`` in ``module.yaml``. What the other kind has is refused: a defect of the module.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection

T = TypeVar("T")
_POSTGRESQL, _MONGODB = "postgresql", "mongodb"


class ModuleDatabase:
    """The module's own database: no service and no other module works in it, and migrations of the module make what is in it.

    While it does not answer everything raises DATABASE_UNAVAILABLE; let it through: callers are told when to come again. A
    statement takes at most ``STYLOBATE_DATABASE_STATEMENT_TIMEOUT``, and is broken off at the handler's deadline.
    """

    def __init__(self, module: str, kind: str = "") -> None:
        """Refuse everything; each kind has a class that does what it can."""
        self._module = module
        self._kind = kind

    @property
    def reader(self) -> "ModuleDatabase":
        """The same for reads that may be a moment old: of a replica, where there is one.

        PostgreSQL refuses to write there. Of a collection only reads go to a secondary, and writes to the primary as ever.
        """
        raise self._no(_MONGODB if self._kind == _POSTGRESQL else _POSTGRESQL)

    # with `database: mongodb`

    def collection(self, name: str) -> "AsyncCollection[dict[str, Any]]":
        """Return a collection as pymongo's asyncio client has it: ``await ctx.database.collection("carts").find_one(…)``.

        Reads see what a majority of the set has, writes are acknowledged by a majority; times have a time zone. What pymongo
        raises it raises here, ``DuplicateKeyError`` for one; let through, an outage becomes DATABASE_UNAVAILABLE.

        :raises ValueError: a name that the platform has for itself: ``migration``, ``migration_lock``, ``signal``, ``system.…``.
        :raises StylobateError: DATABASE_UNAVAILABLE: it was not there yet, or its migrations are to be applied first.
        """
        del name
        raise self._no(_MONGODB)

    async def transact(self, work: "Callable[[AsyncClientSession], Awaitable[T]]") -> T:
        """Do the work in one transaction, and return what it returns.

        Where it clashes with another it is done again from its beginning, so let it change nothing else. All it reads is of one
        moment.

        :param work: is given the session, which each of its statements takes: ``find_one(…, session=session)``.
        """
        del work
        raise self._no(_MONGODB)

    # with `database: postgresql`

    async def fetch(self, sql: str, *args: object) -> "list[Record]":
        """Return all rows. Values are given apart, as ``$1``, ``$2``; tables are named without a schema."""
        del sql, args
        raise self._no(_POSTGRESQL)

    async def fetchrow(self, sql: str, *args: object) -> "Record | None":
        """Return the first row, or None."""
        del sql, args
        raise self._no(_POSTGRESQL)

    async def fetchval(self, sql: str, *args: object) -> Any:
        """Return the first value of the first row, or None."""
        del sql, args
        raise self._no(_POSTGRESQL)

    async def execute(self, sql: str, *args: object) -> str:
        """Run a statement and return its status, such as ``UPDATE 3``."""
        del sql, args
        raise self._no(_POSTGRESQL)

    def transaction(self) -> "AbstractAsyncContextManager[Connection]":
        """Return a context manager that gives a connection in a transaction: committed at its end, undone on errors.

        Its ``fetch``, ``fetchrow``, ``fetchval`` and ``execute`` are asyncpg's.
        """
        raise self._no(_POSTGRESQL)

    def _no(self, wanted: str) -> TypeError:
        has = f"declares `database: {self._kind}`" if self._kind else "declares no `database`"
        return TypeError(f"{self._module} {has} in module.yaml, and this takes `database: {wanted}`")
