"""Keeps items: each belongs to who added it."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from stylobate.modules import ActionContext, BaseModule, action


@dataclass
class NewItem:
    """What a caller sends."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]


@dataclass
class Item:
    """An item as callers see it."""

    id: str
    text: str


class ExampleActions(BaseModule):
    """The module's actions: POST /example, GET /example."""

    @action(access="authenticated", route="POST /example", rate_limit="30/minute")
    async def add(self, ctx: ActionContext, item: NewItem) -> Item:
        """Keep an item."""
        kept = await ctx.state.put("example", ctx.new_id(), {"text": item.text}, expected_version=0)
        return Item(id=kept.key, text=kept.data["text"])

    @action(access="authenticated", route="GET /example")
    async def mine(self, ctx: ActionContext) -> list[Item]:
        """List the caller's items."""
        return [Item(id=kept.key, text=kept.data["text"]) async for kept in ctx.state.list("example")]
