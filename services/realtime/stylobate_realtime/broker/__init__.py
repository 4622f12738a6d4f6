"""The broker port: carries what happens in a channel to every node that has subscribers."""

from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct
from stylobate.idempotency import Claim, IdempotencyAnswers

from stylobate_realtime.protocol.messages import ClientInfo


class Broadcast(Struct, frozen=True, gc=False, array_like=True):
    """What travels between nodes."""

    kind: Literal["publication", "join", "leave"]
    data: bytes = b""
    """A publication's payload, as it was published."""
    info: ClientInfo | None = None
    """Who joined or left; for a publication the client that published it, if one did."""
    tags: dict[str, str] | None = None


Receive = Callable[[str, Broadcast], None]
"""Called with topic and broadcast, on the loop; must not raise."""


class Broker(IdempotencyAnswers, Protocol):
    """Carries broadcasts by topic (tenant and channel).

    At most once: a broadcast reaches the nodes that are subscribed while it passes, and is kept nowhere. The broadcasts of
    one node to one topic arrive in the order of their ``publish`` calls. While the broker is away nothing arrives; the
    node's subscriptions stand again by themselves once it is back. Answers to idempotency keys expire by themselves, and may be
    lost with the broker's server.
    """

    def attach(self, receive: Receive) -> None:
        """Set who gets what arrives; before the first subscription."""

    async def subscribe(self, topic: str) -> None:
        """Return once this node hears every broadcast of the topic.

        :raises RealtimeUnavailableError: not acknowledged in time; the node is then not subscribed.
        """

    def unsubscribe(self, topic: str) -> None:
        """Stop hearing the topic. What is under way may still arrive."""

    async def publish(self, topic: str, broadcast: Broadcast, claim: Claim | None = None) -> None:
        """Return once the broker has taken the broadcast. Raises RealtimeUnavailableError; it may have been taken then.

        :param claim: takes an idempotency key and keeps the answer in one step with it.
        :raises KeyTakenError: the key has an answer; nothing was published.
        """
