"""What keeps a caller well when a callee is not: backoff, waiting at start, circuit breaking."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.stopping import check_cancelled, goes_on

T = TypeVar("T")
_SAY_AGAIN_S = 5.0
_LASTING = timedelta(seconds=5)
"""What is over sooner is a restart, and nobody need look at it."""
_PRUNE_EVERY_S = 60.0
_log = get_logger("app")


def backoff(initial: float = 0.1, factor: float = 2.0, maximum: float = 5.0, *, jitter: bool = True) -> Iterator[float]:
    """Yield seconds to wait, forever: growing from ``initial`` to ``maximum``, each between half and whole with jitter."""
    wait = initial
    while True:
        yield wait * random.uniform(0.5, 1.0) if jitter else wait  # noqa: S311  spreads retries, hides nothing
        wait = min(wait * factor, maximum)


async def wait_for_dependency(
    what: str,
    attempt: Callable[[], Awaitable[T]],
    *,
    faults: tuple[type[Exception], ...] = (UnavailableError, OSError),
) -> T:
    """Try until it works, saying what is waited for at once and then every 5 s; at once it is not a warning yet.

    :param what: names the dependency with its address, such as ``database localhost:5432``.
    :param faults: what counts as "not there yet"; anything else is raised.
    """
    started = monotonic()
    said = -_SAY_AGAIN_S
    for wait in backoff(initial=0.05, factor=1.5):
        check_cancelled()
        try:
            result = await attempt()
        except faults as error:
            now = monotonic() - started
            if now - said >= _SAY_AGAIN_S:
                say = _log.warning if said >= 0 else _log.info
                said = now
                say("waiting_for", what=what, error=f"{type(error).__name__}: {error}", seconds=round(now, 1))
            await asyncio.sleep(wait)
        else:
            if said >= 0:
                _log.info("waited_for", what=what, seconds=round(monotonic() - started, 1))
            return result
    raise AssertionError("backoff never ends")


async def prune_forever(prune: Callable[[], Awaitable[int]]) -> None:
    """Have what expired removed about once a minute, part by part, forever. Any number of processes may do so at once.

    :param prune: removes a bounded number and returns how many.
    """
    while goes_on():
        await asyncio.sleep(_PRUNE_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311  so that processes take turns
        try:
            while await prune():
                pass
        except UnavailableError:
            continue  # what is left is taken at the next turn; health tells of the database


class Interruption:
    """Tells of something without end that was interrupted: at info when it begins, as a warning once it has lasted 5 s.

    So a restart of whoever is at the other end warns of nothing.

    :param event: of the log lines.
    :param clock: seconds, monotonic.
    """

    def __init__(self, event: str, clock: Callable[[], float] = monotonic) -> None:
        self._event = event
        self._clock = clock
        self._since: float | None = None
        self.is_lasting = False
        """Whether a warning was given."""

    def note(self, **facts: str) -> None:
        """Take note that it failed, again or for the first time."""
        now = self._clock()
        if self._since is None:
            self._since = now
            _log.info(self._event, **facts)
        elif not self.is_lasting and now - self._since >= _LASTING.total_seconds():
            self.is_lasting = True
            _log.warning(self._event, **facts, seconds=round(now - self._since, 1))

    def over(self) -> bool:
        """Take note that it goes on; return whether it had been interrupted."""
        was, self._since, self.is_lasting = self._since is not None, None, False
        return was


class CircuitBreaker:
    """Closed, open after ``failures`` in a row or by :meth:`trip`, closed again by the first answer.

    Whoever opens it looks whether the callee is back, soon at first and then every ``reset_after``: a caller's own request is
    never spent on that.
    """

    def __init__(self, name: str, failures: int = 5, reset_after: timedelta = timedelta(seconds=1)) -> None:
        self.name = name
        self.reset_after = reset_after
        self.failures = 0
        """In a row."""
        self.is_open = False
        """Whether calls are refused at the moment."""
        self._limit = failures

    def success(self) -> None:
        """Tell that the callee answered, whatever it said."""
        self.failures, self.is_open = 0, False

    def failure(self) -> None:
        """Tell that the callee could not be reached."""
        self.failures += 1
        self.is_open = self.failures >= self._limit

    def trip(self) -> None:
        """Open at once: the callee is known not to answer."""
        self.failures, self.is_open = self._limit, True
