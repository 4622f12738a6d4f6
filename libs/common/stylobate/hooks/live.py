"""Hooks that every process hears live: at most once, by the copies on Redis pub/sub."""

import asyncio
from collections.abc import Sequence

from stylobate.errors import StylobateError
from stylobate.hooks.hook import Hook
from stylobate.logs import get_logger
from stylobate.outbox import CHANNEL, Event
from stylobate.redis import RedisManager
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

_WAITING = 1024
_log = get_logger("app")


class LiveHooks:
    """Runs ``each`` hooks: for one event after the other, for each event those of the lowest priority number first.

    An event that comes while 1,024 others wait is dropped and counted; one that comes while Redis is down never arrives.
    """

    def __init__(self, redis: RedisManager, hooks: Sequence[Hook]) -> None:
        self._redis = redis
        self._hooks = sorted(hooks, key=lambda hook: hook.priority)
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(_WAITING)
        self._last = b""
        self._subscribed = asyncio.Event()
        self._runs = counter("hook_live_runs", "Runs of live hooks, by how they ended.", ("hook", "outcome"))

    async def run(self) -> None:
        """Listen and run, forever."""
        patterns = sorted({CHANNEL + hook.pattern.text for hook in self._hooks})
        subscription = await self._redis.subscribe(patterns, self._heard)
        try:
            self._subscribed.set()
            while goes_on():
                await self._deal_with(await self._waiting.get())
        finally:
            await subscription.close()

    async def ready(self) -> None:
        """Return once events are heard."""
        await self._subscribed.wait()

    def _heard(self, _channel: str, payload: bytes) -> None:
        if payload == self._last:
            return  # the same copy by another of our patterns: they come one behind the other
        self._last = payload
        try:
            event = Event.parse(payload)
        except StylobateError:
            _log.exception("live_event_unreadable")
            return
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self._runs.labels("", "dropped").inc()

    async def _deal_with(self, event: Event) -> None:
        for hook in self._hooks:
            if event.source in hook.sources and hook.pattern.matches(event.type):
                await self._run(hook, event)

    async def _run(self, hook: Hook, event: Event) -> None:
        try:
            async with asyncio.timeout(hook.timeout.total_seconds()):
                await hook.callback(event)
        except Exception as error:  # noqa: BLE001  whatever a hook raises is its failure; the next ones run all the same
            self._runs.labels(hook.name, "failed").inc()
            known = isinstance(error, (StylobateError, TimeoutError))
            _log.warning(
                "live_hook_failed",
                hook=hook.name,
                event_id=event.id,
                type=event.type,
                error=f"{type(error).__name__}: {error}",
                exc_info=None if known else error,
            )
        else:
            self._runs.labels(hook.name, "done").inc()
