"""The manager of WebSocket connections on this node: sessions, deadlines, revocations, publications from services."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from stylobate import telemetry
from stylobate.clients.edge import Edge
from stylobate.health import Health
from stylobate.idempotency import Claim
from stylobate.identity.verifier import TokenVerifier
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

from stylobate_realtime import codes
from stylobate_realtime.broker import Broadcast, Broker
from stylobate_realtime.channel_commands import ChannelCommands
from stylobate_realtime.channels import ChannelRules
from stylobate_realtime.codes import SessionEndedError
from stylobate_realtime.commands import Commands
from stylobate_realtime.departures import Departures
from stylobate_realtime.hub import Hub
from stylobate_realtime.key_renewal import KeyRenewal
from stylobate_realtime.openings import Openings
from stylobate_realtime.presence import Presence
from stylobate_realtime.protocol import Codec
from stylobate_realtime.protocol.messages import Command
from stylobate_realtime.session import ClientSession
from stylobate_realtime.session_context import ClientSocket, SessionContext
from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.standing import Standing
from stylobate_realtime.subscription import topic_of
from stylobate_realtime.timers import TimerWheel
from stylobate_realtime.write_queue import WriteQueue

_log = get_logger("app")
_TICK_S = 1.0
_CLOSES_PER_S = 500
_SETTLE_S = 3.0


class WebSocketManager:
    """See the module. An async context manager; :meth:`run_timers` and what `standing` has to run must run beside it."""

    def __init__(
        self,
        *,
        settings: RealtimeSettings,
        verifier: TokenVerifier,
        edge: Edge,
        rules: ChannelRules,
        broker: Broker,
        presence: Presence,
        version: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.edge = edge
        self._rules = rules
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        writes = WriteQueue(self._loop)
        self._hub = Hub(broker, writes, settings.queue_bytes)
        self._departures = Departures(self._hub, broker, presence)
        self._channels = ChannelCommands(
            settings=settings, rules=rules, hub=self._hub, broker=broker, presence=presence, departures=self._departures
        )
        self.renewal = KeyRenewal(verifier, clock, now)
        self._commands = Commands(
            settings=settings, verifier=verifier, edge=edge, enter=self._enter, channels=self._channels,
            renewal=self.renewal, version=version, clock=clock, now=now,
        )  # fmt: skip
        self._wheel = TimerWheel(clock)
        self._chance = chance or random.Random()  # noqa: S311  spreads deadlines, hides nothing
        self.openings = Openings(self._loop)
        self._context = SessionContext(
            settings=settings, handler=self, writes=writes, wheel=self._wheel, openings=self.openings, loop=self._loop,
            clock=clock, random=self._chance,
        )  # fmt: skip
        self._sessions: set[ClientSession] = set()
        self._users: Counter[str] = Counter()
        self.standing = Standing(self._sessions, verifier, edge.bans, self._channels.doubt)
        self._connections = telemetry.gauge("realtime_connections", "Open connections of the realtime endpoint.")
        self._closes = telemetry.counter("realtime_closes", "Ended connections; code 0: by the client.", ("code",))
        self._publications = telemetry.counter("realtime_publications", "Publications taken from services.")

    async def __aenter__(self) -> Self:
        """Give the manager."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close every connection, at once, and clear up what they leave behind."""
        for session in tuple(self._sessions):
            session.end(codes.SHUTDOWN)
        await self._channels.review.close()
        try:
            async with asyncio.timeout(_SETTLE_S):
                await self._departures.settle()
        except TimeoutError:
            _log.warning("realtime_not_settled", cure="presence entries of this process expire by themselves")

    # what the endpoint asks

    def session(self, connection: ClientSocket, codec: Codec, address: str, agent: str = "") -> ClientSession:
        """Return a session for a socket that has just been opened.

        :param address: the client's. :param agent: its user agent.
        """
        session = ClientSession(self._context, connection, codec, address, agent)
        self._sessions.add(session)
        self._connections.inc()
        return session

    def retire(self, session: ClientSession) -> None:
        """Close a session because this process stops: some time within the drain, so that not all come back at once."""
        spread = min(self.settings.drain.total_seconds(), len(self._sessions) / _CLOSES_PER_S)
        self._loop.call_later(self._chance.uniform(0, spread), session.end, codes.SHUTDOWN)

    # what sessions ask

    async def run(self, session: ClientSession, command: Command) -> None:
        """Carry out a command."""
        await self._commands.run(session, command)

    def _enter(self, user: str) -> None:
        """Count a connection of a user. Raises SessionEndedError when the user has too many."""
        limit = self.settings.connections_per_user
        if limit and self._users[user] >= limit:
            raise SessionEndedError(codes.CONNECTION_LIMIT)
        self._users[user] += 1

    def closed(self, session: ClientSession, code: int) -> None:
        """Forget a session and clear up behind it."""
        self._sessions.discard(session)
        self._connections.dec()
        self._closes.labels(code).inc()
        if session.client:
            user = session.principal.id
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]
        self._departures.closed(session)

    def refresh_presence(self, session: ClientSession) -> None:
        """Renew the session's presence entries."""
        self._departures.refresh_presence(session)

    def lost(self, tenant: str, namespace: str, key: str) -> None:
        """Note that a state object was deleted or handed over: who heard of it by a right to read it is asked for again."""
        self._channels.doubt_object(tenant, namespace, key)

    # what services ask

    async def publish(self, tenant: str, channel: str, data: bytes, tags: Mapping[str, str], claim: Claim | None = None) -> None:
        """Publish to a channel in nobody's name.

        :param data: one JSON value. :param claim: publishes once for its idempotency key.
        :raises KeyTakenError: it was published.
        :raises ChannelInvalidError, ChannelUnknownError, InvalidInputError: it cannot be published.
        :raises RealtimeUnavailableError: the broker did not take it.
        """
        payload = self._rules.publication(channel, data, self.settings.publication_bytes)
        broadcast = Broadcast("publication", payload, tags=dict(tags) or None)
        await self._broker.publish(topic_of(tenant, channel), broadcast, claim)
        self._publications.inc()

    async def health(self) -> Health:
        """Tell how much is open."""
        return Health(metrics={"connections": float(len(self._sessions)), "channels": float(len(self._hub))})

    # background work

    async def run_timers(self) -> None:
        """Turn the wheel, forever."""
        while goes_on():
            self.turn()
            await asyncio.sleep(_TICK_S)

    def turn(self) -> None:
        """Call every session with a deadline that has passed."""
        self._wheel.advance()
