"""Watching in the test kit: as on the platform, at once and without a delivery."""

from contextlib import aclosing
from pathlib import Path

from stylobate.testing.modules import ActionTester

SHOP = Path(__file__).parents[3] / "modules" / "shop"
TEA = {"items": [{"sku": "tea", "quantity": 1}]}


async def test_customers_watch_their_orders() -> None:
    """Each hears of its own orders alone; the hooks get every event all the same when they are delivered."""
    async with ActionTester.open(SHOP) as tester:
        ada, bob = tester.user("ada"), tester.user("bob")
        first = await ada.call("shop.place_order", TEA)
        async with aclosing(ada.state.watch("orders")) as watching:
            begun = await anext(watching)
            assert (begun.kind, begun.complete, [one.key for one in begun.objects]) == ("snapshot", True, [first["id"]])
            await bob.call("shop.place_order", TEA)
            await ada.call("shop.pay_order", {"order_id": first["id"]})
            paid = await anext(watching)
            assert (paid.kind, paid.key, paid.change.event, paid.change.to_status) == ("change", first["id"], "pay", "paid")
        second = await ada.call("shop.place_order", TEA)
        async with aclosing(ada.state.watch("orders", position=paid.position)) as watching:
            assert (await anext(watching)).key == second["id"]
        assert [event.type.rpartition(".")[2] for event in await tester.deliver()][:4] == [
            "created",
            "created",
            "transitioned",
            "created",
        ]
