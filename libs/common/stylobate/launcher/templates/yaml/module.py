"""Keeps items: each belongs to who added it. What callers send and see stands in actions.yaml."""

from typing import Any

from stylobate.modules import ActionContext, BaseModule


class ExampleActions(BaseModule):
    """The handlers of the module's actions."""

    async def add(self, ctx: ActionContext, item: dict[str, Any]) -> dict[str, Any]:
        """Keep an item."""
        kept = await ctx.state.put("example", ctx.new_id(), item, expected_version=0)
        return {"id": kept.key, **kept.data}

    async def mine(self, ctx: ActionContext) -> list[dict[str, Any]]:
        """List the caller's items."""
        return [{"id": kept.key, **kept.data} async for kept in ctx.state.list("example")]
