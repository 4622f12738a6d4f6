"""The shop: orders that are placed, paid, shipped or cancelled.

What an order is and what clients may send stands in actions.yaml, what it may become and who may move it in states.yaml. Left for
code is what declarations cannot say: what an order costs, and who hears of it.
"""

from typing import Any

from stylobate.modules import ActionContext, BaseModule, Event, HookContext, StateObject, on

ORDERS = "orders"
"""The namespace of the orders, and of the channels that tell of them."""
MOST = 100
"""Orders in one answer."""
Json = dict[str, Any]
"""An object whose members actions.yaml names."""


class ShopModule(BaseModule):
    """Actions and hooks of the shop."""

    async def place_order(self, ctx: ActionContext, wanted: Json) -> Json:
        """Price the order and keep it; it belongs to the caller from then on."""
        data = {"items": wanted["items"], "total": self.price(wanted["items"])}
        return _order(await ctx.state.put(ORDERS, ctx.new_id(), data, expected_version=0))

    async def pay_order(self, ctx: ActionContext, order: Json) -> Json:
        """Mark the order as paid. An example: no money moves."""
        return _order(await ctx.state.transition(ORDERS, order["order_id"], "pay"))

    async def ship_order(self, ctx: ActionContext, order: Json) -> Json:
        """Mark the order as shipped."""
        return _order(await ctx.state.transition(ORDERS, order["order_id"], "ship"))

    async def orders_to_ship(self, ctx: ActionContext) -> list[Json]:
        """Find what is paid by the index of states.yaml, and answer the first hundred."""
        found: list[Json] = []
        async for order in ctx.state.list(ORDERS, filter={"status": "paid"}, sort="-total"):
            found.append(_order(order))
            if len(found) == MOST:
                break
        return found

    async def cancel_order(self, ctx: ActionContext, order: Json) -> Json:
        """Cancel the order."""
        return _order(await ctx.state.transition(ORDERS, order["order_id"], "cancel"))

    async def replace_order(self, ctx: ActionContext, wanted: Json) -> Json:
        """Cancel the order and place another one in its stead: both happen, or neither."""
        data = {"items": wanted["items"], "total": self.price(wanted["items"])}
        async with ctx.state.transaction() as change:
            change.transition(ORDERS, wanted["order_id"], "cancel")
            change.put(ORDERS, ctx.new_id(), data, expected_version=0)
        _, placed = change.results
        return _order(placed)

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
