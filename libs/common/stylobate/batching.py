"""Natural batching: what arrives while a batch is under way leaves together in the next one.

No timers and no added latency when idle. The first item waits for the end of the loop's turn only, so that one turn's
arrivals leave together. A batch that fails is tried again item by item, so that one bad item never fails its neighbours.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_Entry = tuple[T, asyncio.Future[R], Sequence[Hashable]]
"""An item, its answer to be, and its keys."""
_MANY = 32
"""Items that are worth two batches."""


class Batcher(Generic[T, R]):
    """Collects items of type T and flushes them in batches that answer with one R or exception per item.

    :param flush: gets a batch, answers in its order; what it raises is the answer to a batch of one, and makes a larger
        batch be retried one by one.
    :param max_size: items in a batch.
    :param in_flight: batches under way at once.
    :param keys: for writes: two items with a key in common are never under way together; the later waits, others overtake it.
        An item counts towards ``max_size`` once for each of its keys.
    :param divides: whether, of many that wait while nothing is under way, half leave with the next batch. Callers who come back
        as soon as they are answered march in step otherwise: this process waits for the answer to all of them, and then what
        answers waits for this process. Not where most of what waits was submitted ``together``.
    """

    def __init__(
        self,
        flush: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_size: int = 256,
        in_flight: int = 2,
        keys: Callable[[T], Sequence[Hashable]] | None = None,
        divides: bool = False,
    ) -> None:
        self._flush = flush
        self._max_size = max_size
        self._in_flight = in_flight
        self._divides = divides
        self.least_beside = 1
        """Items that a batch must have to leave beside one that is under way; fewer wait for its end."""
        self._waiting: deque[_Entry[T, R]] = deque()
        self._keys = keys
        self._lines: _Lines[T, R] | None = None if keys is None else _Lines()
        self._tasks: set[asyncio.Task[None]] = set()
        self._together = 0
        """How many were submitted so since the last batch left."""
        self._is_beginning = False
        """Whether a task has begun that has not taken its batch yet."""
        self._closed = False
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set when entered; read on the hot path

    async def __aenter__(self) -> Self:
        """Bind to the running loop."""
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish what is under way and waiting; then refuse new items."""
        self._closed = True
        while self._tasks or len(self):
            self._begin()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks))

    def submit(self, item: T, *, together: bool = False) -> "asyncio.Future[R]":
        """Queue the item and return a future of its answer; ``await batcher.submit(item)``.

        :param together: it comes out of another batch, with its neighbours: those are out of step with what answers here already,
            and to divide them makes two batches of what costs as much as one.
        """
        if self._closed:
            raise RuntimeError("the batcher is closed")
        future: asyncio.Future[R] = self._loop.create_future()
        if self._lines is None or self._keys is None:
            self._waiting.append((item, future, ()))
        else:
            self._lines.put((item, future, self._keys(item)))
        if together:
            self._together += 1
        if not self._is_beginning:
            self._begin()
        return future

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._waiting) if self._lines is None else self._lines.waiting

    def _begin(self) -> None:
        """Let a batch of what waits leave when the loop's turn is over, if there may be one more."""
        least = self.least_beside if self._tasks else 1
        if not self._is_beginning and len(self._tasks) < self._in_flight and len(self) >= least:
            self._is_beginning = True
            # an empty context: the batch is nobody's call, though one of many callers happened to begin it
            self._tasks.add(asyncio.Task(self._run(), loop=self._loop, context=Context(), name="batch"))

    def _take(self, most: int) -> list[_Entry[T, R]]:
        waiting = self._waiting
        if len(waiting) <= most:
            taken = list(waiting)
            waiting.clear()
            return taken
        return [waiting.popleft() for _ in range(most)]

    async def _run(self) -> None:
        self._is_beginning = False
        most = self._max_size
        if self._divides and len(self._tasks) == 1 and len(self) >= _MANY and self._together * 2 <= len(self):
            size = len(self) if self._lines is None else self._lines.size
            most = min(most, (size + 1) // 2)
        self._together = 0
        batch = self._take(most) if self._lines is None else self._lines.take(most)
        try:
            if batch and len(self):
                # A turn later: two that leave together are answered together by who serves one connection, and then the next two
                # leave together. One is to be made while the other is worked at.
                self._loop.call_soon(self._begin)
            live = [entry for entry in batch if not entry[1].done()]
            if live:
                await self._deliver(live)
        finally:
            if self._lines is not None:
                self._lines.done(batch)
            task = asyncio.current_task(self._loop)
            if task is not None:
                self._tasks.discard(task)
            if batch:  # else all that waits is behind those that are under way, and begins when they have ended
                self._begin()

    async def _deliver(self, batch: list[_Entry[T, R]]) -> None:
        try:
            answers: Sequence[R | Exception] = await self._flush([item for item, _, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"a flush of {len(batch)} items gave {len(answers)} answers")
        except asyncio.CancelledError:
            for _, future, _ in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  it is the answer
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            for entry in batch:
                await self._deliver([entry])
            return
        for (_, future, _), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception) or future.done():
                _settle(future, answer)
            else:
                future.set_result(answer)


class _Lines(Generic[T, R]):
    """What waits and what is under way, in a line for each key. An item may go once it is the first in all of its lines.

    Items join all of their lines at once, so of two that share keys the earlier is before the later in each, and none wait for
    each other in a circle. Taking a batch costs what the batch holds, however long a line has grown.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[_Entry[T, R]] | None] = {}
        """Of each key that is wanted the entries behind the first one; None where there was none yet, as mostly."""
        self._behind: dict[asyncio.Future[R], int] = {}
        """In how many lines an entry is not the first yet; only entries that must wait stand here."""
        self._free: deque[_Entry[T, R]] = deque()
        """Entries that may go, in the order in which they came to be so."""
        self.waiting = 0
        self.size = 0
        """Keys of what waits."""

    def put(self, entry: _Entry[T, R]) -> None:
        """Queue an entry behind those of its keys."""
        behind, lines = 0, self._lines
        for key in entry[2]:
            if key not in lines:
                lines[key] = None
                continue
            line = lines[key]
            if line is None:
                line = lines[key] = deque()
            line.append(entry)
            behind += 1
        if behind:
            self._behind[entry[1]] = behind
        else:
            self._free.append(entry)
        self.waiting += 1
        self.size += len(entry[2])

    def take(self, most: int) -> list[_Entry[T, R]]:
        """Take entries that may go, and whose callers did not go away, until they have as many keys."""
        batch: list[_Entry[T, R]] = []
        while self._free and most > 0:
            entry = self._free.popleft()
            self.waiting -= 1
            self.size -= len(entry[2])
            if entry[1].cancelled():
                self.done((entry,))
            else:
                batch.append(entry)
                most -= len(entry[2])
        return batch

    def done(self, batch: Sequence[_Entry[T, R]]) -> None:
        """Take entries that may go out of their lines, and let those behind them step forward."""
        for entry in batch:
            for key in entry[2]:
                line = self._lines[key]
                if line:
                    self._step(line.popleft())
                else:
                    del self._lines[key]

    def _step(self, entry: _Entry[T, R]) -> None:
        self._behind[entry[1]] -= 1
        if not self._behind[entry[1]]:
            del self._behind[entry[1]]
            self._free.append(entry)


def _settle(future: "asyncio.Future[R]", answer: R | Exception) -> None:
    if future.done():
        return  # its caller went away
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
