"""The shop's orders, run by the platform's own services over memory."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from stylobate.errors import StylobateError
from stylobate.testing import FakeClock
from stylobate.testing.modules import ActionTester, TestUser

SHOP = Path(__file__).parents[1]
TEA = {"items": [{"sku": "tea", "quantity": 2}]}


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[ActionTester]:
    """Serve the shop in memory."""
    async with ActionTester.open(SHOP) as tester:
        yield tester


async def test_an_order_is_priced_and_belongs_to_who_placed_it(shop: ActionTester) -> None:
    """Placing an order answers what was ordered, what it costs in cents, and keeps it in the customer's name."""
    alice = shop.user("alice")
    order = await alice.call("shop.place_order", TEA)
    assert order == {"id": order["id"], "status": "pending", "items": TEA["items"], "total": 2000}
    kept = await alice.state.get("orders", order["id"])
    assert kept is not None
    assert (kept.owner, kept.status, kept.data) == ("alice", "pending", {"items": TEA["items"], "total": 2000})


async def test_the_price_of_a_piece_is_a_setting() -> None:
    """An operator changes the price by the environment, without touching the module."""
    async with ActionTester.open(SHOP, settings={"STYLOBATE_MODULE_SHOP_UNIT_PRICE": "250"}) as shop:
        order = await shop.user("alice").call("shop.place_order", TEA)
    assert order["total"] == 500


async def test_an_order_is_paid_shipped_and_then_beyond_cancelling(shop: ActionTester) -> None:
    """The machine is walked to its end; from there the refusal names what is allowed: nothing."""
    alice, clerk = shop.user("alice"), shop.user("clerk", "staff")
    order_id = (await alice.call("shop.place_order", TEA))["id"]
    assert (await alice.call("shop.pay_order", {"order_id": order_id}))["status"] == "paid"
    assert (await clerk.call("shop.ship_order", {"order_id": order_id}))["status"] == "shipped"
    with pytest.raises(StylobateError) as refused:
        await alice.call("shop.cancel_order", {"order_id": order_id})
    assert (refused.value.reason, refused.value.metadata["allowed"]) == ("STATE_TRANSITION_NOT_ALLOWED", "")


async def test_a_paid_order_can_be_cancelled_for_an_hour() -> None:
    """The guard of the event looks at the clock; its refusal names it, and the order stays paid."""
    clock = FakeClock()
    async with ActionTester.open(SHOP, clock=clock) as shop:
        alice = shop.user("alice")
        early, late = [(await alice.call("shop.place_order", TEA))["id"] for _ in range(2)]
        for order_id in (early, late):
            await alice.call("shop.pay_order", {"order_id": order_id})
        clock.advance(timedelta(minutes=59))
        assert (await alice.call("shop.cancel_order", {"order_id": early}))["status"] == "cancelled"
        clock.advance(timedelta(minutes=1))
        with pytest.raises(StylobateError) as refused:
            await alice.call("shop.cancel_order", {"order_id": late})
        assert (refused.value.reason, refused.value.metadata["event"]) == ("STATE_GUARD_REFUSED", "cancel")


async def test_an_order_that_nobody_pays_is_cancelled_after_a_while(shop: ActionTester) -> None:
    """The timer shows when; it fires in the customer's name, and watchers hear of it. Paid in time, nothing happens."""
    alice = shop.user("alice")
    unpaid, paid = [(await alice.call("shop.place_order", TEA))["id"] for _ in range(2)]
    await alice.call("shop.pay_order", {"order_id": paid})
    waiting, settled = [await alice.state.get("orders", order_id) for order_id in (unpaid, paid)]
    assert waiting is not None
    assert settled is not None
    assert [(timer.event, timer.at - waiting.created_at) for timer in waiting.timers] == [("cancel", timedelta(minutes=15))]
    assert settled.timers == ()
    await shop.advance(timedelta(minutes=14))
    assert [event.subject for event in await shop.advance(timedelta(minutes=1))] == [unpaid]
    cancelled, settled = [await alice.state.get("orders", order_id) for order_id in (unpaid, paid)]
    assert cancelled is not None
    assert settled is not None
    assert (cancelled.status, cancelled.timers, settled.status) == ("cancelled", (), "paid")
    assert [change.actor async for change in alice.state.history("orders", unpaid)] == ["alice", "alice"]
    assert shop.published[-1][1]["event"] == "cancel"


async def test_an_order_that_is_not_paid_is_not_shipped(shop: ActionTester) -> None:
    """Skipping a step is refused and the steps that are open are named."""
    order_id = (await shop.user("alice").call("shop.place_order", TEA))["id"]
    with pytest.raises(StylobateError) as refused:
        await shop.user("clerk", "staff").call("shop.ship_order", {"order_id": order_id})
    assert refused.value.reason == "STATE_TRANSITION_NOT_ALLOWED"
    assert set(refused.value.metadata["allowed"].split(",")) == {"pay", "cancel"}


async def test_nobody_moves_the_order_of_another(shop: ActionTester) -> None:
    """Paying and cancelling are the owner's; an administrator may cancel."""
    order_id = (await shop.user("alice").call("shop.place_order", TEA))["id"]
    bob, admin = shop.user("bob"), shop.user("root", "admin")
    for action in ("shop.pay_order", "shop.cancel_order"):
        with pytest.raises(StylobateError) as refused:
            await bob.call(action, {"order_id": order_id})
        assert refused.value.reason == "STATE_NOT_FOUND"
    assert (await admin.call("shop.cancel_order", {"order_id": order_id}))["status"] == "cancelled"


async def test_an_order_is_replaced_whole_or_not_at_all(shop: ActionTester) -> None:
    """One transaction cancels the old order and places the new one; where the first cannot be, the second is not either."""
    alice, clerk = shop.user("alice"), shop.user("clerk", "staff")
    old = (await alice.call("shop.place_order", TEA))["id"]
    new = await alice.call("shop.replace_order", {"order_id": old, "items": [{"sku": "cake", "quantity": 3}]})
    assert (new["status"], new["total"]) == ("pending", 3000)
    assert await _orders(alice) == {old: "cancelled", new["id"]: "pending"}
    await alice.call("shop.pay_order", {"order_id": new["id"]})
    await clerk.call("shop.ship_order", {"order_id": new["id"]})
    for user, reason in ((alice, "STATE_TRANSITION_NOT_ALLOWED"), (shop.user("bob"), "STATE_NOT_FOUND")):
        with pytest.raises(StylobateError) as refused:
            await user.call("shop.replace_order", {"order_id": new["id"], **TEA})
        assert (refused.value.reason, refused.value.metadata["index"]) == (reason, "0")
    assert await _orders(clerk) == {old: "cancelled", new["id"]: "shipped"}


async def _orders(user: TestUser) -> dict[str, str]:
    """Return the orders that the user may list, with their statuses."""
    return {order.key: order.status async for order in user.state.list("orders")}


@pytest.mark.parametrize("data", [{"total": 1}, {"items": []}, {"note": "soon"}, {"total": None}])
async def test_paying_does_not_set_the_price(shop: ActionTester, data: Any) -> None:
    """Straight at the state service, data sent along with the event is refused with its field, and the order is not paid."""
    alice = shop.user("alice")
    order_id = (await alice.call("shop.place_order", TEA))["id"]
    with pytest.raises(StylobateError) as refused:
        await alice.state.transition("orders", order_id, "pay", data)
    assert refused.value.reason == "STATE_DATA_INVALID"
    assert [violation.pointer for violation in refused.value.violations] == [f"/{name}" for name in data]
    kept = await alice.state.get("orders", order_id)
    assert kept is not None
    assert (kept.status, kept.data["total"]) == ("pending", 2000)


async def test_the_staff_finds_what_is_to_be_shipped(shop: ActionTester) -> None:
    """Paid orders of everybody, the most expensive first, by the index on status and total; of others nothing."""
    alice, bob, clerk = shop.user("alice"), shop.user("bob"), shop.user("clerk", "staff")
    placed = []
    for who, quantity in ((alice, 2), (bob, 5), (alice, 3), (bob, 1)):
        order = await who.call("shop.place_order", {"items": [{"sku": "tea", "quantity": quantity}]})
        placed.append((who, order["id"]))
    for who, order_id in placed[:3]:
        await who.call("shop.pay_order", {"order_id": order_id})
    assert [order["total"] for order in await clerk.call("shop.orders_to_ship")] == [5000, 3000, 2000]
    await clerk.call("shop.ship_order", {"order_id": placed[1][1]})
    assert [order["total"] for order in await clerk.call("shop.orders_to_ship")] == [3000, 2000]


async def test_customers_find_their_own_orders_only(shop: ActionTester) -> None:
    """The index leads to one's own orders where one may list no others, and counts no others."""
    alice, bob = shop.user("alice"), shop.user("bob")
    for who, quantity in ((alice, 2), (bob, 5), (alice, 3)):
        await who.call("shop.place_order", {"items": [{"sku": "tea", "quantity": quantity}]})
    dear = {"status": "pending", "total": {"gte": 2500}}
    assert [order.data["total"] async for order in alice.state.list("orders", filter=dear)] == [3000]
    assert await bob.state.count("orders", filter={"status": "pending"}) == 1
    with pytest.raises(StylobateError) as refused:
        await alice.state.count("orders", filter={"total": 3000})
    assert refused.value.reason == "STATE_QUERY_NOT_INDEXED"


async def test_an_unknown_order_is_not_found(shop: ActionTester) -> None:
    """The state service's own error reaches the caller."""
    with pytest.raises(StylobateError) as missing:
        await shop.user("alice").call("shop.pay_order", {"order_id": "none"})
    assert missing.value.reason == "STATE_NOT_FOUND"


@pytest.mark.parametrize(
    ("name", "action", "order", "reason"),
    [("", "shop.place_order", TEA, "UNAUTHENTICATED"), ("alice", "shop.ship_order", {"order_id": "1"}, "PERMISSION_DENIED")],
)
async def test_who_may_not_cannot(shop: ActionTester, name: str, action: str, order: dict[str, Any], reason: str) -> None:
    """Placing needs to be known and to hold orders:create, which every user does; shipping is for the staff."""
    user = shop.user(name) if name else shop.anonymous
    with pytest.raises(StylobateError) as refused:
        await user.call(action, order)
    assert refused.value.reason == reason


async def test_nobody_orders_more_than_thirty_times_a_minute() -> None:
    """The limit that actions.yaml declares, by the test's clock."""
    clock = FakeClock()
    async with ActionTester.open(SHOP, clock=clock) as shop:
        alice, bob = shop.user("alice"), shop.user("bob")
        for _ in range(30):
            await alice.call("shop.place_order", TEA)
        with pytest.raises(StylobateError) as refused:
            await alice.call("shop.place_order", TEA)
        assert (refused.value.reason, refused.value.retry_after) == ("RATE_LIMITED", timedelta(minutes=1))
        await bob.call("shop.place_order", TEA)
        clock.advance(timedelta(minutes=1))
        await alice.call("shop.place_order", TEA)


@pytest.mark.parametrize(
    ("order", "pointer"),
    [
        ({}, "/items"),
        ({"items": []}, "/items"),
        ({"items": [{"sku": "tea", "quantity": 0}]}, "/items/0/quantity"),
        ({"items": [{"sku": "tea", "quantity": "2"}]}, "/items/0/quantity"),
        ({"items": [{"sku": "tea", "quantity": 1, "price": 1}]}, "/items/0/price"),
    ],
)
async def test_a_wrong_order_is_refused_with_its_place(shop: ActionTester, order: Any, pointer: str) -> None:
    """Nothing is guessed and nothing unknown passes: the answer points at what is wrong."""
    with pytest.raises(StylobateError) as refused:
        await shop.user("alice").call("shop.place_order", order)
    assert refused.value.reason == "ACTION_INPUT_INVALID"
    assert [violation.pointer for violation in refused.value.violations] == [pointer]


async def test_watchers_of_an_order_hear_of_every_change(shop: ActionTester) -> None:
    """Each event of an order is published to the order's channel, with the event's data as payload."""
    alice = shop.user("alice")
    order_id = (await alice.call("shop.place_order", TEA))["id"]
    await alice.call("shop.pay_order", {"order_id": order_id})
    await shop.deliver()
    assert [channel for channel, _ in shop.published] == [f"orders:{order_id}"] * 2
    created, paid = [data for _, data in shop.published]
    assert (created["version"], created["status"]) == (1, "pending")
    assert {name: paid[name] for name in ("version", "event", "from", "to", "actor")} == {
        "version": 2, "event": "pay", "from": "pending", "to": "paid", "actor": "alice",
    }  # fmt: skip


async def test_who_is_granted_one_order_ships_just_that(shop: ActionTester) -> None:
    """A grant on the order opens the action and the event, for nothing else and until it is taken away."""
    alice, bob = shop.user("alice"), shop.user("bob")
    mine, other = [(await alice.call("shop.place_order", TEA))["id"] for _ in range(2)]
    for order in (mine, other):
        await alice.call("shop.pay_order", {"order_id": order})
    bob.grant("orders:ship", f"state/orders/{mine}")
    with pytest.raises(StylobateError) as refused:
        await bob.call("shop.ship_order", {"order_id": other})
    assert refused.value.metadata == {"permission": "orders:ship", "resource": f"state/orders/{other}"}
    assert (await bob.call("shop.ship_order", {"order_id": mine}))["status"] == "shipped"
    assert [state.key async for state in bob.state.list("orders")] == []
    bob.grant("orders:read", "state/orders/")
    assert len([state.key async for state in bob.state.list("orders")]) == 2
    bob.revoke("orders:read", "state/orders/")
    assert await bob.state.get("orders", other) is None


async def test_who_leaves_takes_the_name_and_leaves_the_books(shop: ActionTester) -> None:
    """An export of the account holds its orders; once the account is deleted they stay, as nobody's that can be known."""
    alice, clerk = shop.user("alice"), shop.user("clerk", "staff")
    order_id = (await alice.call("shop.place_order", TEA))["id"]
    await shop.user("bob").call("shop.place_order", TEA)
    (order,) = (await shop.export_user("alice"))["state/orders"]
    assert (order["key"], order["data"]["total"]) == (order_id, 2000)
    await shop.delete_user("alice")
    assert await shop.export_user("alice") == {}
    left = await clerk.state.get("orders", order_id)
    assert left is not None
    assert (left.data["total"], left.owner.startswith("deleted-")) == (2000, True)
