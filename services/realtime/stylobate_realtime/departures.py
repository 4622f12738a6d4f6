"""What sessions and subscriptions leave behind in channels, and the renewal of presence while they last."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from stylobate.errors import UnavailableError
from stylobate.logs import get_logger

from stylobate_realtime.broker import Broadcast, Broker
from stylobate_realtime.hub import Hub
from stylobate_realtime.presence import Presence, PresenceEntry
from stylobate_realtime.session import ClientSession
from stylobate_realtime.subscription import Subscription

_log = get_logger("app")


class Departures:
    """Takes what has ended out of the hub and out of presence, and tells the others."""

    def __init__(self, hub: Hub, broker: Broker, presence: Presence) -> None:
        self._hub = hub
        self._broker = broker
        self._presence = presence
        self._tasks: set[asyncio.Task[None]] = set()

    def ended(self, session: ClientSession, subscription: Subscription) -> None:
        """Stop the flow at once, and clear up behind a subscription that the server ended: ``session.leaving`` does."""
        self._hub.leave(session, subscription)
        session.leaving = self._start(self._clear_up(session, subscription, after=session.leaving))

    async def _clear_up(self, session: ClientSession, subscription: Subscription, *, after: "asyncio.Task[None] | None") -> None:
        if after is not None:
            await asyncio.wait((after,))
        await self.abandon(session, subscription, was_ready=True)

    async def abandon(self, session: ClientSession, subscription: Subscription, *, was_ready: bool = False) -> None:
        """Undo a subscription, however far it came."""
        was_ready = was_ready or subscription.is_ready
        self._hub.leave(session, subscription)
        self._hub.release(subscription)
        if subscription.is_present:
            subscription.is_present = False
            if session.renewal is not None:
                await asyncio.wait((session.renewal,))  # else it could put back what is removed here
            try:
                await self._presence.remove(subscription.topic, session.client)
            except UnavailableError:
                _log.warning("presence_not_removed", channel=subscription.channel)  # it expires by itself
        if was_ready and subscription.declaration.join_leave:
            await announce(self._broker, subscription, Broadcast("leave", info=session.info))

    def closed(self, session: ClientSession) -> None:
        """Clear up behind a session that ended, once its last command has."""
        if session.subscriptions or session.worker is not None:
            self._start(self._clear(session))

    async def _clear(self, session: ClientSession) -> None:
        if session.worker is not None:
            await asyncio.wait((session.worker,))
        while session.subscriptions:
            _, subscription = session.subscriptions.popitem()
            await self.abandon(session, subscription)

    def refresh_presence(self, session: ClientSession) -> None:
        """Renew the session's entries in the background."""
        entries = [PresenceEntry(s.topic, session.info) for s in session.subscriptions.values() if s.is_present]
        if entries and session.renewal is None:
            session.renewal = self._start(self._renew(session, entries))

    async def _renew(self, session: ClientSession, entries: list[PresenceEntry]) -> None:
        try:
            with suppress(UnavailableError):  # said by the health of Redis; the next refresh puts them back
                await self._presence.put(entries)
        finally:
            session.renewal = None

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait until everything that ended is cleared up."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))


async def announce(broker: Broker, subscription: Subscription, broadcast: Broadcast) -> None:
    """Tell a channel of a join or leave; at most once, as all that is live."""
    try:
        await broker.publish(subscription.topic, broadcast)
    except UnavailableError:
        _log.warning("membership_not_published", channel=subscription.channel, kind=broadcast.kind)
