"""What ends by itself when its time is over: roles and grants that have an end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.resilience import Interruption
from stylobate.stopping import goes_on

from stylobate_auth.store.port import AuthStore

_LOOK_EVERY_S = 10.0
"""At the latest; who gives something an end, here or elsewhere, has it looked for at once."""
_PAUSE_S, _REST_S = 0.5, 0.05
"""After a look that failed; before the next one at least."""
_log = get_logger("app")

EndDue = Callable[[], Awaitable[datetime | None]]
"""Ends what is due and returns when the next one ends; None: none does."""


class Endings:
    """Ends what is due, forever.

    :param clock: the time in UTC.
    """

    def __init__(self, store: AuthStore, ends: Sequence[EndDue], *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._ends = ends
        self._clock = clock
        self._due = asyncio.Event()
        self._interruption = Interruption("ends_interrupted")

    async def run(self) -> None:
        """End what is due, also what other processes gave an end."""
        async with self._store.listen(self._due.set):
            while goes_on():
                self._due.clear()
                pause = await self._look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._due.wait()

    async def _look(self) -> float:
        """End what is due; return the seconds until the next look."""
        try:
            ends = [end for end_due in self._ends if (end := await end_due()) is not None]
        except UnavailableError as error:
            self._interruption.note(error=f"{type(error).__name__}: {error}")
            return _PAUSE_S
        if self._interruption.over():
            _log.info("ends_resumed")
        if not ends:
            return _LOOK_EVERY_S
        return min(max((min(ends) - self._clock()).total_seconds(), _REST_S), _LOOK_EVERY_S)
