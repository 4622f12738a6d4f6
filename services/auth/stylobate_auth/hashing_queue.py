"""The queue in front of the hashing threads: fair between addresses, and never longer than its callers can wait."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from stylobate_auth.errors import HashingBusyError

T = TypeVar("T")
_MARGIN_S = 0.25
"""What is left of a deadline for everything but the hash."""
_PATIENCE_S = 5.0
"""How long a caller without a deadline waits."""
_NEWEST = 0.2
"""The weight of the newest hash in the average."""
_LEAST_RETRY = timedelta(seconds=1)


@dataclass(slots=True, eq=False)
class _Job:
    share: str
    work: Callable[[], Any]
    answer: "asyncio.Future[Any]"
    begin_by: float
    """On the loop's clock: begun later, its answer would come too late."""
    timer: asyncio.TimerHandle | None = None


class HashingQueue:
    """Runs work in threads; what waits is taken from each share in turn.

    Who is refused is refused early: at once when its turn would come too late by the pace of the last hashes, else when that
    has become certain. A full queue makes room for a smaller share by refusing the newest of the largest.

    :param threads: work at a time. :param bound: work that may wait.
    """

    def __init__(self, executor: Executor, *, threads: int, bound: int) -> None:
        self._executor = executor
        self._threads = threads
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._shares: dict[str, deque[_Job]] = {}
        """Those with work that waits, the next one's turn first."""
        self._running = 0
        self._average_s = 0.0
        self.waiting = 0
        self.refused = 0

    @property
    def running(self) -> int:
        """Work under way, also such whose caller is gone."""
        return self._running

    async def run(self, work: Callable[[], T], *, share: str, deadline: float = 0.0) -> T:
        """Return what the work returns.

        :param share: whom the work is counted on: an address.
        :param deadline: of the caller, on the loop's clock; 0: none.
        :raises HashingBusyError: it cannot be done in time; with a time to retry.
        """
        now = self._loop.time()
        begin_by = (deadline - _MARGIN_S if deadline else now + _PATIENCE_S) - self._average_s
        wait_s = self._wait_s(share)
        if now + wait_s > begin_by:
            raise self._busy(wait_s)
        if self._running >= self._threads and self.waiting >= self._bound:
            self._make_room(share, wait_s)
        job = _Job(share, work, self._loop.create_future(), begin_by)
        self._shares.setdefault(share, deque()).append(job)
        self.waiting += 1
        self._begin()
        if job.share in self._shares:  # it may wait
            job.timer = self._loop.call_at(begin_by, self._refuse, job)
        try:
            result: T = await job.answer
        finally:
            if job.timer is not None:
                job.timer.cancel()
            self._take_out(job)
        return result

    def _wait_s(self, share: str) -> float:
        """Return how long work of the share would wait: its own before it, and as much of every other share."""
        if self._running < self._threads:
            return 0.0
        mine = len(self._shares.get(share, ()))
        ahead = mine + sum(min(len(jobs), mine + 1) for name, jobs in self._shares.items() if name != share)
        return (ahead // self._threads + 1) * self._average_s

    def _make_room(self, share: str, wait_s: float) -> None:
        """Refuse the newest of the largest share, or the caller when that is its own."""
        largest = max(self._shares.values(), key=len, default=None)
        if largest is None or len(largest) <= len(self._shares.get(share, ())) + 1:
            raise self._busy(wait_s)
        self._refuse(largest[-1])

    def _begin(self) -> None:
        while self._running < self._threads and self._shares:
            share, jobs = next(iter(self._shares.items()))
            job = jobs.popleft()
            del self._shares[share]
            if jobs:
                self._shares[share] = jobs  # behind the others
            self.waiting -= 1
            self._running += 1
            began = perf_counter()  # before it is handed over: on a busy machine it can be done when submit returns
            self._executor.submit(job.work).add_done_callback(partial(self._tell, job, began))

    def _tell(self, job: _Job, began: float, done: "Future[Any]") -> None:
        """Hand the result to the loop; called in a thread."""
        self._loop.call_soon_threadsafe(self._finish, job, done, perf_counter() - began)

    def _finish(self, job: _Job, done: "Future[Any]", seconds: float) -> None:
        self._running -= 1  # not before: a caller that goes away leaves its thread busy until then
        if not done.cancelled() and done.exception() is None:
            self._average_s += (seconds - self._average_s) * (_NEWEST if self._average_s else 1.0)
        if not job.answer.done():
            if done.cancelled():
                job.answer.cancel()
            elif (error := done.exception()) is not None:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(done.result())
        self._begin()

    def _refuse(self, job: _Job) -> None:
        if self._take_out(job) and not job.answer.done():
            job.answer.set_exception(self._busy(self._wait_s(job.share)))

    def _take_out(self, job: _Job) -> bool:
        """Remove work that waits; return whether it did."""
        jobs = self._shares.get(job.share)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        self.waiting -= 1
        if not jobs:
            del self._shares[job.share]
        return True

    def _busy(self, wait_s: float) -> HashingBusyError:
        self.refused += 1
        return HashingBusyError(retry_after=max(_LEAST_RETRY, timedelta(seconds=wait_s)))
