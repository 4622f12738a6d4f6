"""When a request may begin: what nobody is charged for yet is bounded, and so is what the process has at hand at a time.

A process that takes on all that comes does ever less of it in time: when more comes than it can do, every request shares each
round of the event loop with all others, and all of them end too late. So it looks how late the loop is. While it is late and
its thread wants the processor without a pause, as many requests are worked on at a time as end in a quarter of a second
(Little's law: they take no longer then). The others wait, one of each address in turn, first those whose connection is known.
Once that has gone on for a second, who would wait too long is refused at once, which costs next to nothing; before that it may
be a burst, or a machine that stood still for a moment, and all of them can be served yet. The time that requests take says
nothing of it: a handler that waits for another system takes long and costs nothing.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from stylobate.app.demand import Demand
from stylobate.app.newcomers import Newcomers
from stylobate.app.turns import RankedQueue
from stylobate.http.asgi import Headers, Scope
from stylobate.http.errors import OverloadedError
from stylobate.logs import get_logger
from stylobate.telemetry import counter, gauge

ADMITTED = "stylobate.admitted"
"""The key of an ASGI scope under which stands what to call when the request is charged: others may begin then."""
TurnedAway = Callable[[Scope], tuple[bool, Headers]]
"""Told of a request that is refused before it has begun. Returns the fields that its answer has beside its own, and whether they
are all that was asked for: then they are the answer.

:param scope: its method and path (``raw_path``), and its header fields.
"""
FEW = 16
"""Requests that are always worked on together."""
_STEP = 64
"""By how many more there may be from one look to the next."""
_LOOK_S = 0.02
_LATE_S = 0.01
"""How late the loop may be on average; a round of it takes about twice as long."""
_WITHOUT_PAUSE = 0.8
"""Of its time."""
_WITHIN_S = 0.25
"""What a request may take while the loop is late, once it has begun."""
_WAITING_AFTER, _WAITING_AFTER_LATE = 50, 250
"""Looks after which a request that has not ended is taken to wait for something else, and counts no longer; while the loop is
late it may be the loop."""
_LASTING_S = 1.0
"""What is over sooner is a burst, and nobody is refused for it."""
_PATIENCE_S = 1.0
"""Who would wait longer is refused at once."""
_AT_MOST_S, _NEWCOMERS_AT_MOST_S = 2.0, 1.2
"""Who has waited so long is refused. Newcomers have waited to be accepted before."""
_RATE_OVER_S = 0.2
_SHORT_QUEUE = 64
"""Requests that may wait whatever it seems that they have to wait."""
_SHORT_LINE, _LONG_LINE, _LINE_S = 64, 256, 0.1
"""Requests of newcomers that may wait: what is done in that many seconds, within these bounds; every fourth turn is theirs."""
_OUTSIDE_S = 0.15
"""Of further ones, who are not accepted yet, what is done in that time, once there has been too much to do for a second."""
_LOG_AGAIN_S = 1.0
_log = get_logger("access")


class Turn:
    """The right of one request to be in the application."""

    __slots__ = ("_turns", "born", "is_admitted", "is_newcomers", "task")

    def __init__(self, turns: "RequestTurns", born: int, is_newcomers: bool) -> None:
        self._turns: RequestTurns | None = turns
        self.born = born
        """The number of the look before it."""
        self.is_newcomers = is_newcomers
        self.is_admitted = False
        self.task: asyncio.Task[None] | None = None
        """What works on the request."""

    def admit(self) -> None:
        """Let another request begin, since this one is charged; only the first call counts."""
        turns = self._turns
        if not self.is_admitted and turns is not None:
            self.is_admitted = True
            turns.free += 1
            if turns.queue.count:
                turns.pass_on()

    def end(self) -> None:
        """Let another request begin, since this one has ended; only the first call counts."""
        turns = self._turns
        if turns is not None:
            self._turns = None
            turns.ends += 1
            turns.take_back(self)
            if turns.queue.count:
                turns.pass_on()


class _Waiting(NamedTuple):
    begin: Callable[[Turn], bool]
    refuse: Callable[[], None]
    since: float
    is_known: bool


class RequestTurns:
    """Gives requests their turns.

    :param beginning: how many may be in the application without being admitted.
    :param most: how many may be worked on at a time; None: as many as keep the loop in time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, beginning: int, most: int | None = None) -> None:
        """Begin with nobody inside."""
        self._loop = loop
        self.free = beginning
        """Requests that may begin without being admitted yet."""
        self._kept = beginning // 3
        """Of them, those that newcomers leave to others."""
        self._is_fixed = most is not None
        self._limit = most or _STEP
        self._is_overloaded = False
        self._overloaded_since = 0.0
        self._busy = 0
        """Requests that count: those inside, less those that are taken to wait for something else."""
        self._newcomers = Newcomers(is_bounded=most is None)
        self.queue = RankedQueue[_Waiting]()
        """Those that wait for a turn."""
        self._is_looking = False
        self._look = 0
        """How many looks there were."""
        self._due = self._lateness = 0.0
        self._demand = Demand()
        self._born: deque[int] = deque([0])
        """For each of the last looks, how many requests that began before the next one count."""
        self.ends = 0
        """Requests that have ended since the rate was looked at."""
        self._ends_since = 0.0
        self._rate = math.inf
        """Requests that end in a second while the loop is late: what the process can do, as far as it is known."""
        self._refused_count = 0
        self._next_line = 0.0
        self._refused = counter("http_requests_refused", "Requests refused because the process has too much to do.")
        self._level = gauge("http_concurrency", "Requests that may be worked on at a time.")

    def close(self) -> None:
        """Look no more."""
        self._demand.close()

    def take(self, *, is_known: bool) -> Turn | None:
        """Return a turn when there is one to be had at once.

        :param is_known: whether a request of its connection was admitted before.
        """
        is_free = self.free and self._busy < self._limit and (is_known or self._may_newcomer)
        return self._give(is_known) if is_free else None

    @property
    def _may_newcomer(self) -> bool:
        """Whether one may begin, where there is a turn."""
        return self.free > self._kept and self._newcomers.may_begin

    def wait(self, whose: str, begin: Callable[[Turn], bool], refuse: Callable[[], None], *, is_known: bool) -> bool:
        """Call ``begin`` with a turn when it comes. False: it would not come in time, and nothing is called.

        :param begin: returns False when it has no use for the turn any more, since the client is gone.
        :param refuse: called instead when the turn has not come in time.
        :param is_known: whether a request of its connection was admitted before.
        """
        now = self._loop.time()
        if self._lasts(now) and self.queue.before(whose, is_known=is_known) > max(_SHORT_QUEUE, self._rate * _PATIENCE_S):
            self.count_refused(1)
            return False
        self.queue.put(whose, _Waiting(begin, refuse, now, is_known), is_known=is_known)
        self._go_on_looking()
        return True

    @property
    def has_long_line(self) -> bool:
        """Whether a line of newcomers waits behind which further ones are better off before they are accepted."""
        return self.queue.stranger_count >= max(_SHORT_LINE, min(_LONG_LINE, self._rate * _LINE_S))

    def are_too_many(self, outside: int, most: int) -> bool:
        """Return whether too many connections wait to be accepted behind a long line. :param most: that the system holds."""
        return outside > (min(most / 2, self._rate * _OUTSIDE_S) if self._lasts(self._loop.time()) else most / 2)

    def has_soon_turn(self, whose: str) -> bool:
        """Return whether a newcomer from there would wait behind few: in turns, since others bring many."""
        return self.queue.before(whose, is_known=False) <= _SHORT_QUEUE

    def _give(self, is_known: bool) -> Turn:
        self.free -= 1
        self._busy += 1
        self._born[-1] += 1
        if self._busy > FEW:
            self._go_on_looking()
        if not is_known:
            self._newcomers.begin()
        return Turn(self, self._look, not is_known)

    def take_back(self, turn: Turn) -> None:
        """Count a turn no longer, which has ended or was of no use."""
        if not turn.is_admitted:
            self.free += 1
        if (age := self._look - turn.born) < len(self._born):
            self._born[-1 - age] -= 1
            self._busy -= 1
        if turn.is_newcomers:
            self._newcomers.end(age)

    def pass_on(self) -> None:
        """Give the turns that there are to who waits and has a use for one."""
        queue = self.queue
        while self.free and self._busy < self._limit:
            may_strangers = self._may_newcomer
            if not (queue.count if may_strangers else queue.known_count):
                return
            waiting = queue.pop(may_strangers=may_strangers)
            turn = self._give(waiting.is_known)
            if not waiting.begin(turn):
                self.take_back(turn)

    def _go_on_looking(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self.ends, self._ends_since = 0, self._loop.time()
            self._demand.look()
            self._look_at(self._ends_since + _LOOK_S)

    def _look_at(self, due: float) -> None:
        self._due = due
        self._loop.call_at(due, self._look_again)

    def _look_again(self) -> None:
        """See how late the loop is, and how many requests may be worked on because of it."""
        now = self._loop.time()
        self._demand.look()
        self._lateness += (min(now - self._due, 10 * _LATE_S) - self._lateness) * 0.5
        was_overloaded, is_busy = self._is_overloaded, self._demand.share > _WITHOUT_PAUSE
        if self._is_fixed:
            self._is_overloaded = self._busy >= self._limit
        else:  # a loop that is in time since newcomers wait has too much to do all the same
            self._is_overloaded = is_busy and (self._lateness > _LATE_S or self.queue.count > 0)
        if not was_overloaded:  # found out now, however long this look was in coming
            self._overloaded_since = now
        self._note_rate(now)
        if not self._is_fixed:
            self._let_the_old_go()
            self._newcomers.look(is_busy=is_busy, is_late=now - self._due > _LATE_S)
            in_time = max(FEW, self._rate * _WITHIN_S) if self._is_overloaded and self._rate else math.inf
            # a round of the loop may be long before it is found out to be late, so their number grows step by step
            self._set(int(min(in_time, self._busy + _STEP)))
        if self._lasts(now):
            oldest, oldest_new = now - _AT_MOST_S, now - _NEWCOMERS_AT_MOST_S
            stale = self.queue.shed(lambda waiting: waiting.since < (oldest if waiting.is_known else oldest_new))
            self.count_refused(len(stale))
            for waiting in stale:
                waiting.refuse()
        self.pass_on()
        self._say(now)
        self._is_looking = bool(self._busy > FEW or self.queue.count or self._is_overloaded or self._refused_count)
        if self._is_looking:
            self._look_at(now + _LOOK_S)

    def _lasts(self, now: float) -> bool:
        """Return whether there has been too much to do for long enough to refuse any of it."""
        return self._is_overloaded and now - self._overloaded_since > _LASTING_S

    def _let_the_old_go(self) -> None:
        """Count those no longer that began too many looks ago."""
        self._look += 1
        self._born.append(0)
        while len(self._born) > (_WAITING_AFTER_LATE if self._is_overloaded else _WAITING_AFTER):
            self._busy -= self._born.popleft()

    def _note_rate(self, now: float) -> None:
        passed = now - self._ends_since
        is_unknown = self._rate == math.inf
        if self._is_overloaded and (is_unknown or passed > _RATE_OVER_S):
            found = self.ends / passed
            if is_unknown or found > self._rate:
                self._rate = found
            else:  # a process that is kept from working for a moment has not become slower
                self._rate += (found - self._rate) * 0.1
        if passed > _RATE_OVER_S:
            self.ends, self._ends_since = 0, now

    def _set(self, limit: int) -> None:
        if limit != self._limit:
            self._limit = limit
            self._level.set(limit)

    def count_refused(self, count: int) -> None:
        """Count requests that are refused; the next look says so."""
        if count:
            self._refused.inc(count)
            self._refused_count += count

    def _say(self, now: float) -> None:
        if self._refused_count and now >= self._next_line:
            rate = None if self._rate == math.inf else round(self._rate)
            _log.warning(
                "requests_refused",
                status=503,
                code=OverloadedError.reason,
                count=self._refused_count,
                at_a_time=self._limit,
                per_second=rate,
            )
            self._refused_count = 0
            self._next_line = now + _LOG_AGAIN_S
