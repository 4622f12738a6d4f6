"""When a socket may be let in: those that are about to be take turns.

To charge a client, verify its token and ask for its rights takes half a millisecond of the processor, in several steps. When
thousands come at the same moment, as after a network was away, and all of them are at it together, each round of the event loop
takes as long as a step of all of them, and who is connected already waits for it at every step of its own. So a few are let in
at a time; the others wait, one of each address in turn, and who would wait for too long is told to come again.
"""

import asyncio
from datetime import timedelta
from typing import NamedTuple

from stylobate.app.turns import FairQueue
from stylobate.http.errors import OverloadedError
from stylobate.identity import limit_key

_AT_ONCE = 32
_HELD_S = 0.5
"""Who takes longer waits for another service, or the store: the next one begins."""
_WAIT_S = 4.0
"""Who has waited so long is refused: SDKs give up after five seconds."""
_LOOK_S = 0.1


class Opening:
    """The turn of one socket."""

    __slots__ = ("_openings", "since")

    def __init__(self, openings: "Openings", since: float) -> None:
        self._openings: Openings | None = openings
        self.since = since

    def end(self) -> None:
        """Let another begin; only the first call counts."""
        openings, self._openings = self._openings, None
        if openings is not None:
            openings.take_back(self)


class _Waiting(NamedTuple):
    given: "asyncio.Future[Opening]"
    since: float


class Openings:
    """Gives the sockets of a process their turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: dict[Opening, None] = {}
        """The turns that count, the first first."""
        self._queue = FairQueue[_Waiting]()
        self._look: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._queue.count

    async def turn(self, address: str) -> Opening:
        """Wait for a turn, which is to be ended. Raises OverloadedError: it did not come in time.

        :param address: the client's.
        """
        if len(self._held) < _AT_ONCE:
            return self._give()
        waiting = _Waiting(self._loop.create_future(), self._loop.time())
        self._queue.put(limit_key(address), waiting)
        if self._look is None:
            self._look = self._loop.call_later(_LOOK_S, self._look_again)
        given = waiting.given
        try:
            return await given
        except asyncio.CancelledError:
            if not given.cancelled() and given.exception() is None:
                given.result().end()
            raise

    def take_back(self, turn: Opening) -> None:
        """Give the turn that has ended to who waits."""
        del self._held[turn]
        while self._queue.count and len(self._held) < _AT_ONCE:
            given = self._queue.pop().given
            if not given.done():  # else the client is gone
                given.set_result(self._give())

    def _give(self) -> Opening:
        turn = Opening(self, self._loop.time())
        self._held[turn] = None
        return turn

    def _look_again(self) -> None:
        """End the turns that take too long, and refuse those who have waited for too long."""
        now = self._loop.time()
        for turn in [turn for turn in self._held if turn.since < now - _HELD_S]:
            turn.end()
        for waiting in self._queue.shed(lambda waiting: waiting.since < now - _WAIT_S):
            if not waiting.given.done():
                waiting.given.set_exception(
                    OverloadedError("More connect than can be let in in time.", retry_after=timedelta(seconds=1))
                )
        self._look = self._loop.call_later(_LOOK_S, self._look_again) if self._queue.count else None
