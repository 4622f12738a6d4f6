"""The shop: orders that are placed, paid, shipped or cancelled.

What an order may become and who may move it stands in states.yaml, what clients may send in actions.yaml. Left for code is
what declarations cannot say: what an order costs, and who hears of it.
"""

from dataclasses import dataclass
from typing import Self

from stylobate.ids import new_id
from stylobate.modules import ActionContext, BaseModule, Event, HookContext, StateObject, on

ORDERS = "orders"
"""The namespace of the orders, and of the channels that tell of them."""


@dataclass
class Item:
    """So many of one thing."""

    sku: str
    quantity: int


@dataclass
class PlaceOrder:
    """What a customer wants."""

    items: list[Item]


@dataclass
class OrderReference:
    """Names an order."""

    order_id: str


@dataclass
class Order:
    """An order as customers see it."""

    id: str
    status: str
    items: list[Item]
    total: int
    """In cents."""

    @classmethod
    def of(cls, state: StateObject) -> Self:
        """Return the order that the state object holds."""
        items = [Item(**item) for item in state.data["items"]]
        return cls(id=state.key, status=state.status, items=items, total=state.data["total"])


class ShopModule(BaseModule):
    """Actions and hooks of the shop."""

    async def place_order(self, ctx: ActionContext, order: PlaceOrder) -> Order:
        """Price the order and keep it; it belongs to the caller from then on."""
        data = {"items": order.items, "total": self.price(order.items)}
        return Order.of(await ctx.state.put(ORDERS, new_id(), data, expected_version=0))

    async def pay_order(self, ctx: ActionContext, order: OrderReference) -> Order:
        """Mark the order as paid. An example: no money moves."""
        return Order.of(await ctx.state.transition(ORDERS, order.order_id, "pay"))

    async def ship_order(self, ctx: ActionContext, order: OrderReference) -> Order:
        """Mark the order as shipped."""
        return Order.of(await ctx.state.transition(ORDERS, order.order_id, "ship"))

    async def cancel_order(self, ctx: ActionContext, order: OrderReference) -> Order:
        """Cancel the order."""
        return Order.of(await ctx.state.transition(ORDERS, order.order_id, "cancel"))

    @on("state.orders.*")
    async def push(self, ctx: HookContext, event: Event) -> None:
        """Tell whoever watches the order what happened to it."""
        await ctx.publish(f"{ORDERS}:{event.subject}", event.data)

    def price(self, items: list[Item]) -> int:
        """Return what the items cost together, in cents: in this example each piece costs `unit_price`, whatever its sku."""
        unit_price: int = self.settings["unit_price"]
        return sum(item.quantity for item in items) * unit_price
