"""Telling every process that there is something to look for: a change stream, in place of PostgreSQL's NOTIFY."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from stylobate.database.mongodb.faults import FAULTS
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

if TYPE_CHECKING:
    from stylobate.database.mongodb.manager import MongoManager

COLLECTION = "signal"
_AWAIT_MS = 5000
"""How long the server waits for something to tell before it says that there is nothing."""
_PIPELINE: list[dict[str, Any]] = [
    {"$match": {"operationType": {"$in": ["insert", "update", "replace"]}}},
    {"$project": {"documentKey": 1}},
]
_log = get_logger("app")

Callback = Callable[[str], None]


class Signalled:
    """One callback on one channel, until closed."""

    def __init__(self, signals: "Signals", channel: str, callback: Callback) -> None:
        self.channel = channel
        self._signals = signals
        self._callback = callback

    def call(self) -> None:
        """Call back; its failure is logged and harms no other."""
        try:
            self._callback("")
        except Exception:  # noqa: BLE001  whatever it raises, the others are to be called
            _log.exception("signal_callback_failed", channel=self.channel)

    async def close(self) -> None:
        """Stop calling back."""
        self._signals.forget(self)


class Signals:
    """The change stream of a manager; it is opened when first asked to listen."""

    def __init__(self, database: "MongoManager") -> None:
        self._database = database
        self._listening: list[Signalled] = []
        self._opened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, database: "MongoManager") -> AsyncIterator[Self]:
        """Give it, and close the stream at the end."""
        signals = cls(database)
        try:
            yield signals
        finally:
            if signals._task is not None:
                await end((signals._task,))

    async def listen(self, channel: str, callback: Callback) -> Signalled:
        """Add a callback; returns once nothing that is told from now on is missed."""
        listening = Signalled(self, channel, callback)
        self._listening.append(listening)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="database-signals")
        try:
            await self._opened.wait()
        except BaseException:  # nobody would ever end it
            self.forget(listening)
            raise
        return listening

    def renew(self) -> None:
        """Open the stream anew, as whoever we are by now."""
        if self._task is not None:
            self._task.cancel()
            self._opened.clear()
            self._task = asyncio.create_task(self._run(has_been=True), name="database-signals")

    def forget(self, listening: Signalled) -> None:
        """Remove a callback."""
        if listening in self._listening:
            self._listening.remove(listening)

    def _heard(self, channel: Any) -> None:
        for listening in tuple(self._listening):
            if channel in (None, listening.channel):
                listening.call()

    async def _run(self, *, has_been: bool = False) -> None:
        """Follow the stream, and open it again when it is lost; then everybody looks, for nobody knows what was missed."""
        waits = backoff(initial=0.05, maximum=2.0)
        while goes_on():
            try:
                async with await self._database.collection(COLLECTION).watch(_PIPELINE, max_await_time_ms=_AWAIT_MS) as stream:
                    self._opened.set()
                    if has_been:
                        self._heard(None)
                    has_been, waits = True, backoff(initial=0.05, maximum=2.0)
                    while stream.alive and goes_on():
                        change = await stream.next()
                        self._heard(change["documentKey"]["_id"])
            except (*FAULTS, StopAsyncIteration) as error:
                _log.info("database_signals_lost", database=self._database.where, error=type(error).__name__)
            self._opened.clear()
            await asyncio.sleep(next(waits))
