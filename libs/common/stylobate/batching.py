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
_Entry = tuple[T, asyncio.Future[R]]


class Batcher(Generic[T, R]):
    """Collects items of type T and flushes them in batches that answer with one R or exception per item.

    :param flush: gets a batch, answers in its order; what it raises is the answer to a batch of one, and makes a larger
        batch be retried one by one.
    :param max_size: items in a batch.
    :param in_flight: batches under way at once.
    :param key: for writes: two items of one key are never under way together; the later waits, others overtake it.
    """

    def __init__(
        self,
        flush: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_size: int = 256,
        in_flight: int = 2,
        key: Callable[[T], Hashable] | None = None,
    ) -> None:
        self._flush = flush
        self._max_size = max_size
        self._in_flight = in_flight
        self._key = key
        self._waiting: deque[_Entry[T, R]] = deque()
        self._busy: set[Hashable] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set when entered; read on the hot path

    async def __aenter__(self) -> Self:
        """Bind to the running loop."""
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish what is under way and waiting; then refuse new items."""
        self._closed = True
        while self._tasks or self._waiting:
            self._send()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks))

    def submit(self, item: T) -> "asyncio.Future[R]":
        """Queue the item and return a future of its answer; ``await batcher.submit(item)``."""
        if self._closed:
            raise RuntimeError("the batcher is closed")
        future: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append((item, future))
        if not self._scheduled and len(self._tasks) < self._in_flight:
            self._scheduled = True
            self._loop.call_soon(self._send)
        return future

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._waiting)

    def _send(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._tasks) < self._in_flight:
            batch = self._take() if self._key is not None else self._take_any()
            if not batch:
                return
            # an empty context: the batch is nobody's call, though one of many callers happened to begin it
            task = self._loop.create_task(self._run(batch), context=Context())
            self._tasks.add(task)

    def _take_any(self) -> list[_Entry[T, R]]:
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), self._max_size))]

    def _take(self) -> list[_Entry[T, R]]:
        """Take items whose key is free, in order; leave the others in order."""
        key_of, busy = self._key, self._busy
        assert key_of is not None  # noqa: S101  for the type checker
        batch: list[_Entry[T, R]] = []
        left: deque[_Entry[T, R]] = deque()
        held: set[Hashable] = set()
        while self._waiting:
            entry = self._waiting.popleft()
            key = key_of(entry[0])
            if key in busy or key in held or len(batch) == self._max_size:
                held.add(key)  # a later item of the same key must not overtake this one
                left.append(entry)
            elif not entry[1].cancelled():
                busy.add(key)
                batch.append(entry)
        self._waiting = left
        return batch

    async def _run(self, batch: list[_Entry[T, R]]) -> None:
        try:
            live = [entry for entry in batch if not entry[1].done()]
            if live:
                await self._deliver(live)
        finally:
            if self._key is not None:
                self._busy.difference_update(self._key(item) for item, _ in batch)
            task = asyncio.current_task(self._loop)
            if task is not None:
                self._tasks.discard(task)
            self._send()

    async def _deliver(self, batch: list[_Entry[T, R]]) -> None:
        try:
            answers: Sequence[R | Exception] = await self._flush([item for item, _ in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"a flush of {len(batch)} items gave {len(answers)} answers")
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  it is the answer
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            for entry in batch:
                await self._deliver([entry])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            _settle(future, answer)


def _settle(future: "asyncio.Future[R]", answer: R | Exception) -> None:
    if future.done():
        return  # its caller went away
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
