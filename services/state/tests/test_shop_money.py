"""What an order costs is decided by the shop alone: no caller changes a field, whatever is sent to which door of state."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stylobate.errors import StylobateError
from stylobate.modules.state import StateObject
from stylobate.testing.modules import ActionTester, TestUser

SHOP = Path(__file__).parents[3] / "modules" / "shop"
TEA = {"items": [{"sku": "tea", "quantity": 2}]}

ROLES: dict[str, tuple[str, ...]] = {
    "owner": ("user",),
    "customer": ("user",),
    "clerk": ("staff",),
    "admin": ("admin",),
}
ALLOWED = {
    "owner": {"pay", "cancel"},
    "clerk": {"ship"},
    "admin": {"ship", "cancel", "delete"},
}
"""What each may do to an order of the owner's, at the state service itself; whoever is not named, nothing."""
GOES_FROM = {"pay": {"pending"}, "ship": {"paid"}, "cancel": {"pending", "paid"}}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)  # others are not JSON here
values = st.none() | st.integers(-1, 3000) | texts | st.lists(st.just({"sku": "tea", "quantity": 1}), max_size=2)
patches = st.dictionaries(st.sampled_from(["total", "items", "status", "owner", "note"]), values, max_size=3) | values


async def write(user: TestUser, how: str, key: str, data: Any) -> None:
    """Try to write; a refusal of any kind is fine."""
    try:
        if how == "put":
            await user.state.put("orders", key, data)
        elif how == "patch":
            await user.state.patch("orders", key, data)
        elif how == "delete":
            await user.state.delete("orders", key)
        else:
            await user.state.transition("orders", key, how, data)
    except StylobateError as error:
        if error.http_status >= 500:
            raise


@pytest.fixture
async def shop() -> AsyncIterator[ActionTester]:
    """Give a shop; each example places an order of its own."""
    async with ActionTester.open(SHOP) as opened:
        yield opened


@pytest.mark.parametrize("who", [*ROLES, "anonymous"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(
        st.tuples(st.sampled_from(["put", "patch", "pay", "ship", "cancel", "delete"]), patches), min_size=1, max_size=4
    )
)
async def test_an_order_keeps_its_items_and_its_price(shop: ActionTester, who: str, asked: list[tuple[str, Any]]) -> None:
    """Moving it is all that anyone may do, and each only where the machine lets them; also after it was deleted."""
    owner, reader = shop.user("owner", "user"), shop.user("root", "admin")
    user = shop.anonymous if who == "anonymous" else shop.user(who, *ROLES[who])
    key = (await owner.call("shop.place_order", TEA))["id"]
    before = await reader.state.get("orders", key)
    for how, data in asked:
        await write(user, how, key, data)
        after = await reader.state.get("orders", key)
        compare(who, how, before, after)
        before = after


def compare(who: str, how: str, before: StateObject | None, after: StateObject | None) -> None:
    """Hold what became of the order to what the declarations say."""
    if after == before:
        return
    assert before is not None
    assert how in ALLOWED.get(who, set())
    if after is None:
        assert how == "delete"
        return
    assert before.status in GOES_FROM[how]
    assert (after.data, after.owner, after.created_at) == (before.data, before.owner, before.created_at)
    assert after.version == before.version + 1
