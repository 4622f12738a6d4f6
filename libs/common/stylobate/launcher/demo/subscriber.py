"""One person's socket: the realtime SDK (`centrifuge-python`), unmodified."""

import asyncio
from typing import Any

from centrifuge import (
    CentrifugeError,
    Client,
    PublicationContext,
    SubscribedContext,
    SubscriptionEventHandler,
    UnsubscribedContext,
)

_WAIT_S = 10.0


class _Events(SubscriptionEventHandler):  # type: ignore[misc]  # the SDK has no types
    def __init__(self) -> None:
        self.outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.pushes: asyncio.Queue[Any] = asyncio.Queue()

    async def on_subscribed(self, ctx: SubscribedContext) -> None:  # noqa: ARG002  the SDK's signature
        if not self.outcome.done():
            self.outcome.set_result(0)

    async def on_unsubscribed(self, ctx: UnsubscribedContext) -> None:
        if not self.outcome.done():
            self.outcome.set_result(ctx.code)

    async def on_publication(self, ctx: PublicationContext) -> None:
        self.pushes.put_nowait(ctx.pub.data)


class Subscriber:
    """A connection with at most one subscription."""

    def __init__(self, address: str, token: str) -> None:
        self._client = Client(address, token=token)
        self._events = _Events()

    async def subscribe(self, channel: str) -> int:
        """Connect and subscribe; return 0, or the code that the subscription was refused with. Raises TimeoutError."""
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._client.connect()
                await self._client.ready()
                await self._client.new_subscription(channel, events=self._events).subscribe()
                return await self._events.outcome
        except CentrifugeError as error:
            raise ConnectionError(f"the socket did not open: {error}") from error

    async def push(self) -> Any:
        """Return the next push. Raises TimeoutError."""
        async with asyncio.timeout(_WAIT_S):
            return await self._events.pushes.get()

    async def close(self) -> None:
        """Disconnect."""
        await self._client.disconnect()
