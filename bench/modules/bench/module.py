"""The module that the benchmarks call."""

import asyncio
from time import perf_counter, thread_time
from typing import Any

from stylobate.modules import ActionContext, BaseModule

_BETWEEN_S = 0.005


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

    async def lateness(self, ctx: ActionContext, asked: dict[str, Any]) -> list[float]:  # noqa: ARG002  an action gets one
        """Return by how many ms each timer of the event loop was late, one every 5 ms for that many seconds."""
        late, now = [], perf_counter()
        until = now + asked["seconds"]
        while now < until:
            await asyncio.sleep(_BETWEEN_S)
            now, due = perf_counter(), now + _BETWEEN_S
            late.append((now - due) * 1e3)
        return late

    async def announce(self, ctx: ActionContext, asked: dict[str, Any]) -> None:
        """Publish the text this many times at once."""
        await asyncio.gather(*(ctx.publish("bench:all", {"text": asked["text"]}) for _ in range(asked["count"])))
