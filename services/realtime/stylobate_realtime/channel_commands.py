"""Commands about channels: subscribe, unsubscribe, publish, presence; and the end of a subscription whose right is gone."""

import asyncio

from stylobate.errors import StylobateError

from stylobate_realtime import codes
from stylobate_realtime.broker import Broadcast, Broker
from stylobate_realtime.channels import ChannelRules, PayloadInvalidError, checked_payload
from stylobate_realtime.codes import CommandRefusedError, SessionEndedError
from stylobate_realtime.departures import Departures, announce
from stylobate_realtime.errors import ChannelInvalidError, ChannelUnknownError, RealtimeUnavailableError
from stylobate_realtime.hub import Hub
from stylobate_realtime.presence import Presence, PresenceEntry
from stylobate_realtime.protocol.messages import (
    ChannelRequest,
    ClientInfo,
    Empty,
    PresenceResult,
    PresenceStatsResult,
    PublishRequest,
    Push,
    Reply,
    SubscribeRequest,
    SubscribeResult,
)
from stylobate_realtime.rights_review import RightsReview
from stylobate_realtime.session import ClientSession
from stylobate_realtime.session_context import State
from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.subscription import Subscription, topic_of

_FOSSIL = "fossil"


class ChannelCommands:
    """Carries out commands about channels; replies go to the session that asked."""

    def __init__(
        self,
        *,
        settings: RealtimeSettings,
        rules: ChannelRules,
        hub: Hub,
        broker: Broker,
        presence: Presence,
        departures: Departures,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._hub = hub
        self._broker = broker
        self._presence = presence
        self._departures = departures
        self.review = RightsReview(rules, self._end)

    async def subscribe(self, session: ClientSession, command_id: int, request: SubscribeRequest) -> None:
        """Check, hear the topic, show presence; then reply, and behind it all that came in since the topic is heard."""
        if session.leaving is not None:
            await asyncio.wait((session.leaving,))  # what is cleared up there would be this subscription's
        subscription = self._begun(session, request)
        session.subscriptions[subscription.channel] = subscription
        self._hub.expect(session, subscription)
        try:
            await self._require_right(session, subscription)
            await self._hub.hold(subscription)
            if subscription.declaration.presence and session.state is State.CONNECTED:
                subscription.is_present = True
                await self._presence.put([PresenceEntry(subscription.topic, session.info)])
            if subscription.is_in_doubt:
                await self._require_right(session, subscription)
            if subscription.waiting is None:
                raise RealtimeUnavailableError  # more came in than is kept
        except Exception as error:
            del session.subscriptions[subscription.channel]
            await self._departures.abandon(session, subscription)
            if isinstance(error, StylobateError):
                raise CommandRefusedError(codes.INTERNAL) from None
            raise
        if session.state is not State.CONNECTED:
            return  # what it leaves behind is taken care of when this command has ended
        result = SubscribeResult(was_recovering=bool(request.recover))
        session.reply(Reply(id=command_id, subscribe=result))
        self._hub.join(session, subscription)
        if subscription.is_present:
            session.keep_present()
        if subscription.declaration.join_leave:
            await announce(self._broker, subscription, Broadcast("join", info=session.info))

    def _begun(self, session: ClientSession, request: SubscribeRequest) -> Subscription:
        channel = _named(request.channel)
        if request.type:
            raise CommandRefusedError(codes.NOT_AVAILABLE)
        if request.delta not in {None, "", _FOSSIL}:
            raise SessionEndedError(codes.MALFORMED)
        if channel in session.subscriptions:
            raise CommandRefusedError(codes.ALREADY_SUBSCRIBED)
        if len(session.subscriptions) >= self._settings.channels_per_connection:
            raise CommandRefusedError(codes.LIMIT_EXCEEDED)
        subscription = self._subscription(session, channel)
        if request.token:
            raise CommandRefusedError(codes.PERMISSION_DENIED)  # nobody issues tokens for channels yet
        if bytes(request.tf):
            raise CommandRefusedError(codes.BAD_REQUEST)
        subscription.wants_membership = bool(request.join_leave) and subscription.declaration.join_leave
        return subscription

    async def _require_right(self, session: ClientSession, subscription: Subscription) -> None:
        if not await self.review.settle(session, subscription):
            raise CommandRefusedError(codes.INTERNAL if session.is_expired else codes.PERMISSION_DENIED)

    def doubt(self, session: ClientSession) -> None:
        """Have all rights of a session asked for again that it can have lost."""
        for subscription in session.subscriptions.values():
            if self._rules.can_lapse(subscription.declaration):
                self.review.doubt(session, subscription)

    def doubt_object(self, tenant: str, namespace: str, key: str) -> None:
        """Have the rights asked for again that came from a state object."""
        for channel in self._rules.channels_of(namespace, key):
            for session, subscription in self._hub.subscriptions(topic_of(tenant, channel)):
                self.review.doubt(session, subscription)

    def _end(self, session: ClientSession, subscription: Subscription) -> None:
        """End a subscription that stands: nothing of the channel follows the push, whatever else takes its time."""
        del session.subscriptions[subscription.channel]
        session.reply(Reply(push=Push(channel=subscription.channel, unsubscribe=codes.ACCESS_CHANGED)))
        self._departures.ended(session, subscription)

    async def unsubscribe(self, session: ClientSession, command_id: int, request: ChannelRequest) -> None:
        """Stop the flow, take presence away, tell the others; then reply. Also when it was not subscribed."""
        subscription = session.subscriptions.pop(_named(request.channel), None)
        if subscription is not None:
            await self._departures.abandon(session, subscription)
        elif not session.bears_misuse():  # it costs nothing, but not without end
            return
        session.reply(Reply(id=command_id, unsubscribe=Empty()))

    async def publish(self, session: ClientSession, command_id: int, request: PublishRequest) -> None:
        """Publish in the session's name; reply once the broker has taken it."""
        channel = _named(request.channel)
        if request.type:
            raise CommandRefusedError(codes.NOT_AVAILABLE)
        target = self._subscription(session, channel)
        try:
            data = checked_payload(bytes(request.data), self._settings.publication_bytes)
        except PayloadInvalidError:
            raise CommandRefusedError(codes.BAD_REQUEST) from None
        try:
            is_subscribed = channel in session.subscriptions
            if not await self._rules.may_publish(target.declaration, session.principal, is_subscribed=is_subscribed):
                raise CommandRefusedError(codes.PERMISSION_DENIED)
            if session.state is not State.CONNECTED:
                return  # it ended meanwhile, perhaps because it may do nothing any more
            await self._broker.publish(target.topic, Broadcast("publication", data, session.info))
        except StylobateError:
            raise CommandRefusedError(codes.INTERNAL) from None
        session.reply(Reply(id=command_id, publish=Empty()))

    async def presence(self, session: ClientSession, command_id: int, request: ChannelRequest) -> None:
        """Tell a subscriber who is there."""
        entries = await self._present(session, request)
        session.reply(Reply(id=command_id, presence=PresenceResult(entries)))

    async def presence_stats(self, session: ClientSession, command_id: int, request: ChannelRequest) -> None:
        """Tell a subscriber how many are there."""
        entries = await self._present(session, request)
        users = {info.user for info in entries.values()}
        session.reply(Reply(id=command_id, presence_stats=PresenceStatsResult(len(entries), len(users))))

    async def _present(self, session: ClientSession, request: ChannelRequest) -> dict[str, ClientInfo]:
        channel = _named(request.channel)
        target = self._subscription(session, channel)
        if not target.declaration.presence:
            raise CommandRefusedError(codes.NOT_AVAILABLE)
        if channel not in session.subscriptions:
            raise CommandRefusedError(codes.PERMISSION_DENIED)
        try:
            entries = await self._presence.entries(target.topic)
        except StylobateError:
            raise CommandRefusedError(codes.INTERNAL) from None
        if channel not in session.subscriptions:
            raise CommandRefusedError(codes.PERMISSION_DENIED)  # it ended meanwhile
        return entries

    def _subscription(self, session: ClientSession, channel: str) -> Subscription:
        try:
            declaration = self._rules.declaration(channel)
        except ChannelInvalidError:
            raise CommandRefusedError(codes.BAD_REQUEST) from None
        except ChannelUnknownError:
            raise CommandRefusedError(codes.UNKNOWN_CHANNEL) from None
        return Subscription(channel, topic_of(session.principal.tenant, channel), declaration)


def _named(channel: str | None) -> str:
    if not channel:
        raise SessionEndedError(codes.MALFORMED)
    return channel
