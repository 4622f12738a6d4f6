"""Topics to sessions on this node: a broadcast is encoded once per encoding and the same bytes go to every socket."""

import asyncio
from dataclasses import dataclass, field

from msgspec import Raw
from stylobate.logs import get_logger

from stylobate_realtime.broker import Broadcast, Broker
from stylobate_realtime.protocol import Codec
from stylobate_realtime.protocol.messages import Membership, Publication, Push, Reply
from stylobate_realtime.session import Session
from stylobate_realtime.subscription import Subscription
from stylobate_realtime.wire.framing import Opcode, frame

_log = get_logger("app")


@dataclass(slots=True)
class _Topic:
    channel: str
    members: dict[Codec, dict[Session, Subscription]] = field(default_factory=dict)
    holders: int = 0
    subscribed: "asyncio.Future[None] | None" = None


class Hub:
    """Which sessions of this node are in which topic."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._topics: dict[str, _Topic] = {}
        broker.attach(self.deliver)

    def __len__(self) -> int:
        """Return how many topics this node hears."""
        return len(self._topics)

    async def hold(self, subscription: Subscription) -> None:
        """Have this node hear the subscription's topic; returns once it does. Raises RealtimeUnavailableError."""
        topic = self._topics.get(subscription.topic)
        if topic is None:
            topic = self._topics[subscription.topic] = _Topic(subscription.channel)
            topic.subscribed = asyncio.ensure_future(self._broker.subscribe(subscription.topic))
        topic.holders += 1
        subscription.is_held = True
        assert topic.subscribed is not None  # noqa: S101  for the type checker
        try:
            await asyncio.shield(topic.subscribed)  # others wait for the same answer
        except BaseException:
            self.release(subscription)
            raise

    def join(self, session: Session, subscription: Subscription) -> None:
        """Let broadcasts flow to the session, from the next one on."""
        members = self._topics[subscription.topic].members
        members.setdefault(session.codec, {})[session] = subscription
        subscription.is_ready = True

    def leave(self, session: Session, subscription: Subscription) -> None:
        """Stop the flow at once; the topic is still held."""
        if subscription.is_ready:
            subscription.is_ready = False
            self._topics[subscription.topic].members[session.codec].pop(session, None)

    def release(self, subscription: Subscription) -> None:
        """Stop hearing the topic when nobody on this node holds it any more."""
        if not subscription.is_held:
            return
        subscription.is_held = False
        topic = self._topics[subscription.topic]
        topic.holders -= 1
        if not topic.holders:
            del self._topics[subscription.topic]
            self._broker.unsubscribe(subscription.topic)

    def deliver(self, name: str, broadcast: Broadcast) -> None:
        """Queue a broadcast for every member on this node."""
        topic = self._topics.get(name)
        if topic is None:
            return  # it was under way when the last member left
        reply = Reply(push=_push(topic.channel, broadcast))
        is_publication = broadcast.kind == "publication"
        for codec, members in topic.members.items():
            if not members:
                continue
            encoded = frame(Opcode.TEXT if codec.is_text else Opcode.BINARY, codec.encode(reply))
            if is_publication:
                for session in members:
                    session.send(encoded)
            else:
                for session, subscription in members.items():
                    if subscription.wants_membership:
                        session.send(encoded)


def _push(channel: str, broadcast: Broadcast) -> Push:
    if broadcast.kind == "publication":
        return Push(channel=channel, pub=Publication(data=Raw(broadcast.data), info=broadcast.info, tags=broadcast.tags or {}))
    membership = Membership(info=broadcast.info)
    return Push(channel=channel, join=membership) if broadcast.kind == "join" else Push(channel=channel, leave=membership)
