"""A broker within one process, for tests: what publishes on a bus reaches every broker of that bus."""

import asyncio
from datetime import datetime

from stylobate.idempotency import Answer, Claim, KeyTakenError
from stylobate_realtime.broker import Broadcast, Receive


class MemoryBus:
    """What several memory brokers share."""

    def __init__(self) -> None:
        self.brokers: list[MemoryBroker] = []
        self.answers: dict[tuple[str, ...], Answer] = {}
        """To idempotency keys."""


class MemoryBroker:
    """One node's end of a bus."""

    def __init__(self, bus: MemoryBus | None = None) -> None:
        self._bus = bus or MemoryBus()
        self._bus.brokers.append(self)
        self._topics: set[str] = set()
        self._receive: Receive | None = None

    def attach(self, receive: Receive) -> None:
        """Set who gets what arrives."""
        self._receive = receive

    async def subscribe(self, topic: str) -> None:
        """Hear the topic from now on."""
        self._topics.add(topic)

    def unsubscribe(self, topic: str) -> None:
        """Stop hearing the topic."""
        self._topics.discard(topic)

    async def find(self, claim: Claim) -> Answer | None:
        """Return what the bus keeps at the claim's key."""
        return self._bus.answers.get((claim.tenant, claim.caller, claim.method, claim.key))

    async def prune(self, now: datetime) -> int:
        """Keep everything: a test is over soon."""
        del now
        return 0

    async def publish(self, topic: str, broadcast: Broadcast, claim: Claim | None = None) -> None:
        """Hand the broadcast to every node of the bus, in a later turn of the loop as a network would."""
        if claim is not None:
            answer = Answer(claim.request, claim.encode(None))
            if self._bus.answers.setdefault((claim.tenant, claim.caller, claim.method, claim.key), answer) is not answer:
                raise KeyTakenError
        loop = asyncio.get_running_loop()
        for broker in self._bus.brokers:
            loop.call_soon(broker.hear, topic, broadcast)

    def hear(self, topic: str, broadcast: Broadcast) -> None:
        """Take what a node of the bus published."""
        if topic in self._topics and self._receive is not None:
            self._receive(topic, broadcast)
