"""One subject that stands aside: its events in order, tried until each is dealt with, while the others go on."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from stylobate.errors import StylobateError
from stylobate.hooks.hook import MAX_ATTEMPTS
from stylobate.hooks.port import HookStore, Kept, Place
from stylobate.hooks.runs import Runs, text_of
from stylobate.hooks.verdict import Verdict, verdict_on
from stylobate.resilience import backoff
from stylobate.stopping import check_cancelled, end, goes_on

Run = asyncio.Task[BaseException | None]

_LONGEST_WAIT_S = 60.0
"""What a ``Retry-After`` can ask for."""


@dataclass(slots=True)
class Aside:
    """A subject of one hook on one partition. Its events are rows of ``hook_aside``; memory has the first one only."""

    place: Place
    tenant: str
    subject: str
    count: int
    """Rows, the one being written included."""
    _runs: Runs
    _store: HookStore
    is_writing: bool = False
    """Whether a row that was counted is not there yet."""
    written: asyncio.Event = field(default_factory=asyncio.Event)
    """To be set when it is."""
    oldest: datetime | None = None
    """The time of the first event, once it is known."""

    @property
    def age_s(self) -> float:
        """The age of the oldest event not dealt with."""
        return (datetime.now(UTC) - self.oldest).total_seconds() if self.oldest is not None else 0.0

    async def run(self, under_way: Run | None, on_room: Callable[[], None]) -> None:
        """Deal with what is there, until nothing is left.

        :param under_way: a run of the first event that was begun, or has failed.
        :param on_room: called when one was dealt with.
        :raises OvertakenError: when another process goes on with it.
        """
        try:
            while self.count and goes_on():
                counted, is_settled, kept = self.count, not self.is_writing, list[Kept]()
                await self._runs.surely(partial(self._look, kept))
                if not kept:
                    if is_settled and counted == self.count:
                        return  # it was counted twice: read again after the position was set back
                    if self.is_writing:
                        await self.written.wait()
                        self.written.clear()
                    continue
                self.oldest = kept[0].logged.event.time
                await self._deal_with(kept[0], under_way)
                self.count, under_way = self.count - 1, None
                on_room()
        finally:
            if under_way is not None:
                await end((under_way,))

    async def _look(self, found: list[Kept]) -> bool:
        if (kept := await self._store.first_aside(self.place, self.tenant, self.subject)) is not None:
            found.append(kept)
        return True

    async def _deal_with(self, kept: Kept, under_way: Run | None) -> None:
        event, attempts, has_waited = kept.logged.event, kept.attempts, False
        outages, failures = backoff(initial=0.05, maximum=1.0), self._runs.patience.retries()
        give_up_at = asyncio.get_running_loop().time() + self._runs.patience.outage_limit.total_seconds() - kept.age_s
        while (error := await (under_way or self._runs.once(event))) is not None:
            check_cancelled()
            under_way = None
            verdict = verdict_on(error)
            if verdict is Verdict.NOT_NOW:
                self._runs.waits(event, error, is_first=not has_waited)
                has_waited, pause = True, max(next(outages), _asked_for(error))
                if asyncio.get_running_loop().time() >= give_up_at:
                    verdict = Verdict.NEVER
            else:
                attempts += 1
                self._runs.failed(event, error, attempts)
                pause = next(failures)
            if verdict is Verdict.NEVER or attempts >= MAX_ATTEMPTS:
                await self._runs.surely(partial(self._store.bury_aside, self.place, kept, attempts, text_of(error)))
                self._runs.dead(kept.logged, error, attempts)
                return
            if verdict is Verdict.AGAIN:
                await self._runs.surely(partial(self._store.failed_aside, self.place, kept, attempts, text_of(error)))
            await asyncio.sleep(pause)
        self._runs.done()
        await self._runs.surely(partial(self._store.done_aside, self.place, kept))


def _asked_for(error: BaseException) -> float:
    wait = error.retry_after if isinstance(error, StylobateError) else None
    return min(wait.total_seconds(), _LONGEST_WAIT_S) if wait is not None else 0.0
