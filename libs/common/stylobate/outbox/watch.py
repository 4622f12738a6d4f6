"""Knowing when a log has grown: one look per log and process, however many readers wait."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

from stylobate.errors import StylobateError
from stylobate.logs import get_logger
from stylobate.outbox.errors import EventSourceUnknownError
from stylobate.outbox.pace import Pace
from stylobate.outbox.port import APART, EventLog
from stylobate.outbox.position import Position
from stylobate.stopping import end, goes_on

_LOOK = timedelta(milliseconds=200)
_REST_S = 0.005
"""Between two looks at least: many copies at once cost one look, not many."""
_log = get_logger("app")


class LogWatch:
    """Tells readers when a log holds more than they have seen.

    A look is the ends of the log, one small statement; it is made when somebody says that there is something (what :meth:`add`
    returned, :meth:`notify`), else every 200 ms, once a second after ten quiet seconds, and only while there are readers waiting.
    """

    def __init__(self, look_every: timedelta = _LOOK) -> None:
        self._look_every_s = look_every.total_seconds()
        self._tails: dict[str, _Tail] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._heard: list[Callable[[], None]] = []

    def add(self, log: EventLog, heard: Callable[[], None] | None = None) -> Callable[[], None]:
        """Watch one more log. Needs a running loop. Raises ValueError for a source that is watched already.

        :param heard: is called as well when another process says that there is something.
        :returns: what says that this log may have grown. Safe to call often.
        """
        if log.source in self._tails:
            raise ValueError(f"the log of {log.source} is watched already")
        tail = self._tails[log.source] = _Tail(log, self._look_every_s)
        self._tasks.append(asyncio.create_task(tail.run(), name=f"log-watch-{log.source}"))
        if heard is not None:
            self._heard.append(heard)
        return tail.due.set

    def notify(self) -> None:
        """Say that any log may have grown. Safe to call often."""
        for tail in self._tails.values():
            tail.due.set()
        for heard in self._heard:
            heard()

    def logs(self, service: str) -> list[EventLog]:
        """Return the logs of a service, that of its own name first. Raises EventSourceUnknownError where it has none here."""
        apart = (tail.log for source, tail in self._tails.items() if source.startswith(f"{service}{APART}"))
        return [self.log(service), *apart]

    def log(self, source: str) -> EventLog:
        """Return the log of a source. Raises EventSourceUnknownError."""
        return self._tail(source).log

    async def beyond(self, source: str, position: Position, partitions: Sequence[int], timeout_s: float | None) -> list[int]:
        """Wait until there is more behind the position, and return in which of the partitions; empty after the timeout.

        A log that was taken back counts as more: the read then says so.

        :raises StylobateError: what the look at the log raised.
        """
        return await self._tail(source).beyond(position, partitions, timeout_s)

    async def close(self) -> None:
        """Stop looking; who waits is cancelled with its own call."""
        await end(self._tasks)

    def _tail(self, source: str) -> "_Tail":
        try:
            return self._tails[source]
        except KeyError:
            raise EventSourceUnknownError(metadata={"source": source}) from None


class _Tail:
    """One log's readers and the task that looks for them."""

    def __init__(self, log: EventLog, look_every_s: float) -> None:
        self.log = log
        self.due = asyncio.Event()
        self._pace = Pace(look_every_s)
        self._head: Position | None = None
        self._waiting: dict[asyncio.Future[list[int]], tuple[Position, Sequence[int]]] = {}

    async def run(self) -> None:
        """Look, tell, rest, forever. A look that fails is told to whoever waits, and the next one is made as usual."""
        while goes_on():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.pause_s if self._waiting else None):
                    await self.due.wait()
            self.due.clear()
            if self._waiting:
                await self._look()
                await asyncio.sleep(_REST_S)

    async def _look(self) -> None:
        before = self._head
        try:
            head = self._head = await self.log.head()
        except Exception as fault:  # noqa: BLE001  the readers get it; this task must outlive it
            if not isinstance(fault, StylobateError):
                _log.exception("log_look_failed", source=self.log.source)
            for future in self._waiting:
                if not future.done():
                    future.set_exception(fault)
            return
        if head != before:
            self._pace.saw_something()
        # Whoever waits now, also who began to while this look was under way and asked what was known before it.
        for future, (position, partitions) in self._waiting.items():
            if not future.done() and (moved := _moved(head, position, partitions)):
                future.set_result(moved)

    async def beyond(self, position: Position, partitions: Sequence[int], timeout_s: float | None) -> list[int]:
        head = self._head
        if head is not None and head.epoch == position.epoch:
            grown = [partition for partition in partitions if head.numbers[partition] > position.numbers[partition]]
            if grown:
                return grown
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[int]] = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(max(0.0, timeout_s), _release, future)
        if not self._waiting or (head is not None and _moved(head, position, partitions)):
            self.due.set()  # nobody was looking, or the log was taken back: what is known may be old
        self._waiting[future] = (position, partitions)
        try:
            return await future
        finally:
            del self._waiting[future]
            if timer is not None:
                timer.cancel()


def _moved(head: Position, position: Position, partitions: Sequence[int]) -> list[int]:
    """Return the partitions that are to be read: grown, or taken back, which the reader must hear too."""
    if head.epoch != position.epoch:
        return list(partitions)
    return [partition for partition in partitions if head.numbers[partition] != position.numbers[partition]]


def _release(future: "asyncio.Future[list[int]]") -> None:
    if not future.done():
        future.set_result([])
