"""Opening a database that only a part of a service needs: the rest runs without it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from stylobate.app.storage import Storage
from stylobate.config import ConfigError
from stylobate.database.schema import SchemaMigrator
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import end

Look = Callable[[Storage], Awaitable[None]]
"""Looks whether a database may be used. Raises ConfigError where it may not."""
_WITHIN_S = 3.0
"""So long a start waits: within it a wrong setting is refused."""
_MIGRATIONS_LOOK_S = 1.0
_log = get_logger("app")


class _Held(Protocol):
    held: str

    def hold(self, why: str) -> None: ...

    async def use(self, url: str, /) -> None: ...


D = TypeVar("D", bound=_Held)


class Opening(Generic[D]):
    """Holds a database back until it was there, is up to date and was looked at.

    :param url: where it is, and who we are there, at this moment. :param migrator: for such a URL.
    :param look: opens it at such a URL once more, and looks whether it may be used. :param migrates: whether this process
        brings the schema up to date; else it waits for whoever does.
    """

    def __init__(
        self,
        name: str,
        database: D,
        url: Callable[[], str],
        migrator: Callable[[str], SchemaMigrator],
        look: Callable[[str], Awaitable[None]],
        *,
        migrates: bool,
    ) -> None:
        self._name = name
        self._database = database
        self._url = url
        self._migrator = migrator
        self._look = look
        self._migrates = migrates
        database.hold("it was not there yet")
        self._task = self._begun()

    async def is_soon_done(self) -> bool:
        """Wait a moment, and return whether it is open. Raises what the look raised, or the migrations."""
        await asyncio.wait([self._task], timeout=_WITHIN_S)
        if self._task.done():
            self._task.result()
            return True
        _log.warning("database_apart_awaited", database=self._name, why=self._database.held)
        self._task.add_done_callback(self._opened)
        return False

    def again(self) -> None:
        """Try once more where it was refused: we have another login there."""
        if self._task.done() and not self._task.cancelled() and self._task.exception() is not None:
            self._task = self._begun()
            self._task.add_done_callback(self._opened)

    async def close(self) -> None:
        """Give it up."""
        await end((self._task,))

    async def health(self) -> Health:
        """Say why the database is not used yet, or never will be by this process."""
        if not self._task.done():
            return Health(Status.DEGRADED, self._database.held)
        error = None if self._task.cancelled() else self._task.exception()
        return Health() if error is None else Health(Status.DEGRADED, f"not used: {error}")

    def _begun(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._open(), name=f"opening-{self._name}")

    async def _open(self) -> None:
        while True:
            url = self._url()
            try:
                await self._open_at(url)
            except ConfigError:
                if url == self._url():
                    raise
            else:
                self._database.hold("")
                return

    async def _open_at(self, url: str) -> None:
        migrator = self._migrator(url)
        if self._migrates:
            await migrator.upgrade()
        while pending := await migrator.pending():
            self._database.hold(f"behind on migrations: {', '.join(pending)}; run `stylobate db upgrade`")
            await asyncio.sleep(_MIGRATIONS_LOOK_S)
        await self._look(url)

    def _opened(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if error := task.exception():
            _log.error("database_apart_refused", database=self._name, error=str(error))
        else:
            _log.info("database_apart_opened", database=self._name)
