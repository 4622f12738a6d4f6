"""Watching in the test kit: as on the platform, at once and without a delivery."""

from contextlib import aclosing
from pathlib import Path

import pytest
from stylobate.errors import StylobateError
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


async def test_staff_watch_what_a_filter_asks_for() -> None:
    """As on the platform: by an index of the namespace, with what comes and what leaves."""
    async with ActionTester.open(SHOP) as tester:
        ada, staff = tester.user("ada"), tester.user("sam", "staff")
        small = await ada.call("shop.place_order", TEA)
        wanted = {"status": "pending", "total": {"gte": 2000}}
        async with aclosing(staff.state.watch("orders", filter=wanted)) as watching:
            begun = await anext(watching)
            assert (begun.kind, begun.complete, begun.objects) == ("snapshot", True, ())
            large = await ada.call("shop.place_order", {"items": [{"sku": "tea", "quantity": 9}]})
            for order in (small, large):
                await ada.call("shop.pay_order", {"order_id": order["id"]})
            told = [await anext(watching) for _ in range(2)]
            assert [(one.key, one.change.change) for one in told] == [(large["id"], "created"), (large["id"], "gone")]
        with pytest.raises(StylobateError) as refused:
            await anext(staff.state.watch("orders", filter={"items": 1}))
        assert refused.value.reason == "INVALID_INPUT"
