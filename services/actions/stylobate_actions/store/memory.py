"""The runs in memory, for tests of modules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stylobate_actions.store.port import Begun, RunKey, Standing


@dataclass(frozen=True, slots=True)
class _Run:
    request: bytes
    run_id: str
    began_at: datetime
    token: int
    held_until: datetime
    expires_at: datetime
    answer: bytes | None = None


class MemoryRunLedger:
    """The port in a dictionary.

    :param clock: the time in UTC. :param hold: how long a run is held without being renewed.
    :param lifetime: how long it is known.
    """

    def __init__(self, clock: Callable[[], datetime], hold: timedelta, lifetime: timedelta) -> None:
        self._clock = clock
        self._hold = hold
        self._lifetime = lifetime
        self._runs: dict[RunKey, _Run] = {}

    async def begin(self, key: RunKey, requests: Sequence[bytes], run_id: str) -> Begun | Standing | None:
        now = self._clock()
        known = self._runs.get(key)
        if known is None or known.expires_at <= now:
            token = known.token + 1 if known is not None else 1
            begun = _Run(requests[0], run_id, now, token, now + self._hold, now + self._lifetime)
        elif known.request not in requests or known.answer is not None or known.held_until > now:
            return Standing(known.request, known.answer)
        else:
            begun = replace(known, request=requests[0], token=known.token + 1, held_until=now + self._hold)
        self._runs[key] = begun
        return Begun(begun.token, begun.run_id, begun.began_at)

    async def renew(self, held: Sequence[tuple[RunKey, int]]) -> set[RunKey]:
        now = self._clock()
        ours = {key for key, token in held if (run := self._held(key, token)) is not None and run.held_until > now}
        for key in ours:
            self._runs[key] = replace(self._runs[key], held_until=now + self._hold)
        return ours

    async def answer(self, key: RunKey, token: int, answer: bytes) -> bool:
        run = self._held(key, token)
        if run is None:
            return False
        self._runs[key] = replace(run, answer=answer)
        return True

    async def release(self, key: RunKey, token: int) -> None:
        if (run := self._held(key, token)) is not None:
            self._runs[key] = replace(run, held_until=self._clock())

    async def forget(self, key: RunKey, token: int) -> None:
        if self._held(key, token) is not None:
            del self._runs[key]

    async def prune(self) -> int:
        now = self._clock()
        gone = [key for key, run in self._runs.items() if run.expires_at <= now]
        for key in gone:
            del self._runs[key]
        return len(gone)

    def _held(self, key: RunKey, token: int) -> _Run | None:
        run = self._runs.get(key)
        return run if run is not None and run.token == token and run.answer is None else None
