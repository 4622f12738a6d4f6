"""Asks again for rights that may be gone: a subscription lasts no longer than the right to it."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context

from stylobate import telemetry
from stylobate.errors import StylobateError
from stylobate.logs import get_logger
from stylobate.stopping import end

from stylobate_realtime.channels import ChannelRules
from stylobate_realtime.errors import RealtimeUnavailableError
from stylobate_realtime.session import ClientSession
from stylobate_realtime.session_context import State
from stylobate_realtime.subscription import Subscription

_log = get_logger("security")
_AT_ONCE = 32
"""Questions under way at a time."""
_PATIENCE_S = 5.0
"""A right that cannot be told for so long is taken to be gone; the client subscribes again by itself."""
_PAUSE_S = 0.2
_ASKED_AT_MOST = 8
"""A subscribe whose answer is cast in doubt as often while it is asked for is refused for now."""

End = Callable[[ClientSession, Subscription], None]
"""Ends a subscription that stands."""


class RightsReview:
    """Settles doubts: :meth:`doubt` says that a right may be gone, the rest happens in tasks of its own.

    :param end: called for each subscription whose right is gone, or cannot be told for 5 s.
    """

    def __init__(self, rules: ChannelRules, end: End) -> None:
        self._rules = rules
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[ClientSession, Subscription, float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reviews = telemetry.counter("realtime_rights_reviews", "Rights that were asked for again, by answer.", ("outcome",))

    def doubt(self, session: ClientSession, subscription: Subscription) -> None:
        """Note that the right may be gone, and have it asked for again. A subscribe under way sees to it itself."""
        subscription.doubts += 1
        if not subscription.is_ready or subscription.is_queued:
            return
        subscription.is_queued = True
        self._queue.append((session, subscription, self._loop.time() + _PATIENCE_S))
        if len(self._tasks) < _AT_ONCE:
            task = self._loop.create_task(self._work(), context=Context())  # whoever cast the doubt is not who asks
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self, session: ClientSession, subscription: Subscription) -> bool:
        """Return whether the session may subscribe: as of an answer that nothing which happened meanwhile casts doubt on.

        :raises StylobateError: it cannot be told at the moment.
        """
        for _ in range(_ASKED_AT_MOST):
            doubts = subscription.doubts
            if not await self._rules.may_subscribe(
                subscription.declaration, subscription.channel, session.principal, session.token
            ):
                return False
            subscription.settled = doubts
            if not subscription.is_in_doubt:
                return True
        raise RealtimeUnavailableError

    async def close(self) -> None:
        """Stop asking."""
        self._queue.clear()
        await end(self._tasks)

    async def _work(self) -> None:
        while self._queue:
            session, subscription, deadline = self._queue.popleft()
            subscription.is_queued = False
            try:
                outcome = await self._review(session, subscription, deadline)
            except Exception:  # noqa: BLE001  a defect must not leave a right standing that nobody could ask for
                _log.exception("right_not_reviewed", channel=subscription.channel)
                outcome = "unknown"
            self._reviews.labels(outcome).inc()
            if outcome != "held" and subscription.is_ready:
                _log.info("right_lapsed", channel=subscription.channel, user=session.principal.id, outcome=outcome)
                self._end(session, subscription)

    async def _review(self, session: ClientSession, subscription: Subscription, deadline: float) -> str:
        while subscription.is_ready and session.state is State.CONNECTED:
            try:
                async with asyncio.timeout_at(deadline):
                    return "held" if await self.settle(session, subscription) else "gone"
            except (StylobateError, TimeoutError):
                if self._loop.time() + _PAUSE_S > deadline:
                    return "unknown"
                await asyncio.sleep(_PAUSE_S)
        return "held"
