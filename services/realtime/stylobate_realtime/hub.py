"""Topics to sessions on this node: a broadcast is encoded once per encoding and the same bytes go to every socket.

See :mod:`stylobate_realtime.fan_out` for how publications go on to many.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import Raw
from stylobate.logs import get_logger

from stylobate_realtime.broker import Broadcast, Broker
from stylobate_realtime.fan_out import FanOut
from stylobate_realtime.protocol import Codec
from stylobate_realtime.protocol.messages import Membership, Publication, Push, Reply
from stylobate_realtime.session import ClientSession
from stylobate_realtime.subscription import Subscription
from stylobate_realtime.wire.framing import Opcode, frame
from stylobate_realtime.write_queue import WriteQueue

_log = get_logger("app")


@dataclass(slots=True)
class _Topic:
    channel: str
    members: dict[Codec, dict[ClientSession, Subscription]] = field(default_factory=dict)
    arriving: dict[ClientSession, Subscription] = field(default_factory=dict)
    """Subscribes under way: in doubt like members, and kept for what comes in before their reply."""
    holders: int = 0
    is_heard: bool = False
    """Whether the broker has acknowledged; until then ``subscribed`` says when it has."""
    subscribed: "asyncio.Future[None] | None" = None


class Hub:
    """Which sessions of this node are in which topic.

    :param waiting_limit: bytes that may come in for one subscribe before it is answered.
    """

    def __init__(self, broker: Broker, writes: WriteQueue, waiting_limit: int) -> None:
        self._broker = broker
        self._writes = writes
        self._waiting_limit = waiting_limit
        self._fan_out = FanOut(writes)
        self._topics: dict[str, _Topic] = {}
        broker.attach(self.deliver)

    def __len__(self) -> int:
        """Return how many topics this node hears."""
        return len(self._topics)

    def expect(self, session: ClientSession, subscription: Subscription) -> None:
        """Note a subscribe that begins: from now on :meth:`subscriptions` names it."""
        self._topic(subscription).arriving[session] = subscription

    async def hold(self, subscription: Subscription) -> None:
        """Have this node hear the subscription's topic; returns once it does. Raises RealtimeUnavailableError.

        What comes in from then on waits for :meth:`join`.
        """
        topic = self._topic(subscription)
        topic.holders += 1
        subscription.is_held = True
        subscription.waiting = []
        if topic.is_heard:
            return
        if topic.subscribed is None:
            topic.subscribed = asyncio.ensure_future(self._broker.subscribe(subscription.topic))
        subscribed = topic.subscribed
        try:
            await asyncio.shield(subscribed)  # others wait for the same answer
        except BaseException:
            self.release(subscription)
            raise
        if topic.subscribed is subscribed:
            topic.is_heard, topic.subscribed = True, None

    def join(self, session: ClientSession, subscription: Subscription) -> None:
        """Let broadcasts flow to the session, those that came in since it is held first. Called right behind the reply."""
        self._writes.settle()  # what is held is not for it
        topic = self._topics[subscription.topic]
        topic.arriving.pop(session, None)
        topic.members.setdefault(session.codec, {})[session] = subscription
        subscription.is_ready = True
        waiting, subscription.waiting = subscription.waiting, None
        for encoded in waiting or ():
            session.send(encoded)

    def leave(self, session: ClientSession, subscription: Subscription) -> None:
        """Stop the flow at once and forget a subscribe under way; the topic is still held."""
        self._writes.settle()
        topic = self._topics.get(subscription.topic)
        subscription.waiting = None
        if topic is None:
            return
        if topic.arriving.get(session) is subscription:
            del topic.arriving[session]
        if subscription.is_ready:
            subscription.is_ready = False
            topic.members[session.codec].pop(session, None)
        self._drop_if_unused(subscription.topic, topic)

    def subscriptions(self, name: str) -> Iterator[tuple[ClientSession, Subscription]]:
        """Give who is in a topic on this node or about to be."""
        topic = self._topics.get(name)
        if topic is None:
            return
        yield from tuple(topic.arriving.items())
        for members in tuple(topic.members.values()):
            yield from tuple(members.items())

    def release(self, subscription: Subscription) -> None:
        """Stop hearing the topic when nobody on this node holds it any more."""
        if not subscription.is_held:
            return
        subscription.is_held = False
        topic = self._topics[subscription.topic]
        topic.holders -= 1
        if not topic.holders:
            topic.is_heard, topic.subscribed = False, None
            self._broker.unsubscribe(subscription.topic)
        self._drop_if_unused(subscription.topic, topic)

    def _topic(self, subscription: Subscription) -> _Topic:
        topic = self._topics.get(subscription.topic)
        if topic is None:
            topic = self._topics[subscription.topic] = _Topic(subscription.channel)
        return topic

    def _drop_if_unused(self, name: str, topic: _Topic) -> None:
        if not topic.holders and not topic.arriving:
            self._topics.pop(name, None)

    def deliver(self, name: str, broadcast: Broadcast) -> None:
        """Queue a broadcast for every member on this node."""
        topic = self._topics.get(name)
        if topic is None:
            return  # it was under way when the last member left
        reply = Reply(push=_push(topic.channel, broadcast))
        is_publication = broadcast.kind == "publication"
        if not is_publication:
            self._writes.settle()
        for codec, members in topic.members.items():
            if not members:
                continue
            encoded = _frame(codec, reply)
            if is_publication:
                self._fan_out.hold(topic.members, codec, encoded)
            else:
                for session, subscription in members.items():
                    if subscription.wants_membership:
                        session.send(encoded)
        if topic.arriving:
            self._keep(topic.arriving, reply, is_publication=is_publication)

    def _keep(self, arriving: dict[ClientSession, Subscription], reply: Reply, *, is_publication: bool) -> None:
        """Keep a broadcast for who will be a member; what is too much for one ends its subscribe, it is not shortened."""
        frames: dict[Codec, bytes] = {}
        for session, subscription in arriving.items():
            if subscription.waiting is None or not (is_publication or subscription.wants_membership):
                continue
            encoded = frames.get(session.codec) or frames.setdefault(session.codec, _frame(session.codec, reply))
            subscription.waiting_bytes += len(encoded)
            subscription.waiting.append(encoded)
            if subscription.waiting_bytes > self._waiting_limit:
                subscription.waiting = None


def _frame(codec: Codec, reply: Reply) -> bytes:
    return frame(Opcode.TEXT if codec.is_text else Opcode.BINARY, codec.encode(reply))


def _push(channel: str, broadcast: Broadcast) -> Push:
    if broadcast.kind == "publication":
        return Push(channel=channel, pub=Publication(data=Raw(broadcast.data), info=broadcast.info, tags=broadcast.tags or {}))
    membership = Membership(info=broadcast.info)
    return Push(channel=channel, join=membership) if broadcast.kind == "join" else Push(channel=channel, leave=membership)
