"""The module that the benchmarks call."""

import asyncio
from time import thread_time
from typing import Any

from stylobate.modules import ActionContext, BaseModule


class BenchModule(BaseModule):
    """Actions that do next to nothing."""

    async def price(self, ctx: ActionContext, order: dict[str, Any]) -> dict[str, int]:  # noqa: ARG002  an action gets one
        """Return what an order costs: a thousand a piece."""
        return {"lines": len(order["items"]), "total": 1000 * sum(item["quantity"] for item in order["items"])}

    async def echo(self, ctx: ActionContext, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002  an action gets one
        """Return what was given."""
        return given

    async def work(self, ctx: ActionContext, order: dict[str, Any]) -> dict[str, int]:
        """Return the same after a millisecond of the processor's time."""
        until = thread_time() + 0.001
        while thread_time() < until:
            pass
        return await self.price(ctx, order)

    async def announce(self, ctx: ActionContext, asked: dict[str, Any]) -> None:
        """Publish the text this many times at once."""
        await asyncio.gather(*(ctx.publish("bench:all", {"text": asked["text"]}) for _ in range(asked["count"])))
