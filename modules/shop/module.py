"""The shop: orders that are placed, paid, shipped or cancelled.

What an order is and what clients may send stands in actions.yaml, what it may become and who may move it in states.yaml. Left for
code is what declarations cannot say: what an order costs, and who hears of it.
"""

from typing import Any

from stylobate.ids import new_id
from stylobate.modules import ActionContext, BaseModule, Event, HookContext, StateObject, on

ORDERS = "orders"
"""The namespace of the orders, and of the channels that tell of them."""
Json = dict[str, Any]
"""An object whose members actions.yaml names."""


class ShopModule(BaseModule):
    """Actions and hooks of the shop."""

    async def place_order(self, ctx: ActionContext, wanted: Json) -> Json:
        """Price the order and keep it; it belongs to the caller from then on."""
        data = {"items": wanted["items"], "total": self.price(wanted["items"])}
        return _order(await ctx.state.put(ORDERS, new_id(), data, expected_version=0))

    async def pay_order(self, ctx: ActionContext, order: Json) -> Json:
        """Mark the order as paid. An example: no money moves."""
        return _order(await ctx.state.transition(ORDERS, order["order_id"], "pay"))

    async def ship_order(self, ctx: ActionContext, order: Json) -> Json:
        """Mark the order as shipped."""
        return _order(await ctx.state.transition(ORDERS, order["order_id"], "ship"))

    async def cancel_order(self, ctx: ActionContext, order: Json) -> Json:
        """Cancel the order."""
        return _order(await ctx.state.transition(ORDERS, order["order_id"], "cancel"))

    @on("state.orders.*")
    async def push(self, ctx: HookContext, event: Event) -> None:
        """Tell whoever watches the order what happened to it."""
        await ctx.publish(f"{ORDERS}:{event.subject}", event.data)

    def price(self, items: list[Json]) -> int:
        """Return what the items cost together, in cents: in this example each piece costs `unit_price`, whatever its sku."""
        unit_price: int = self.settings["unit_price"]
        pieces: int = sum(item["quantity"] for item in items)
        return pieces * unit_price


def _order(kept: StateObject) -> Json:
    """Return the order as customers see it."""
    return {"id": kept.key, "status": kept.status, **kept.data}
