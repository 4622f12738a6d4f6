"""Grants on single objects: the same at every way to an object."""

from dataclasses import replace

import pytest
from stylobate.clients.state import StateNotFoundError
from stylobate.declarations.model import FieldDeclaration
from stylobate.errors import PermissionDeniedError
from stylobate_state.model import Change
from stylobate_state.namespace import Namespace
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_lister import Filter, ListRequest
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.watch.told import Gap, GapReason

from .samples import ADA, BOB, HANDLER, OPEN, ORDERS
from .test_watch import desk, open_parts, settings

__all__ = ["desk", "open_parts", "settings"]


@pytest.fixture
def namespaces():
    """Give one whose objects are listed by permission alone."""
    return {name: Namespace.of(replace(ORDERS, name=name), [], max_data_bytes=10_000) for name in ("orders",)}


def _keys(page):
    return [state.key.key for state in page.items]


async def _made(manager, *keys):
    for key in keys:
        await manager.change(HANDLER, "orders", key, Put(b'{"total": 1}'), expected=0)


async def test_a_grant_opens_one_object(manager, grants):
    """To read it and its history, and to do to it what is granted; to nothing else."""
    await _made(manager, "1", "2")
    assert await manager.get(BOB, [("orders", "1")]) == []
    grants.on["bob", "orders:read"] = {"state/orders/1", "state/orders/9"}
    assert [state.key.key for state in await manager.get(BOB, [("orders", "1"), ("orders", "2")])] == ["1"]
    assert len((await manager.list_history(BOB, "orders", "1")).items) == 1
    with pytest.raises(StateNotFoundError):
        await manager.list_history(BOB, "orders", "2")
    with pytest.raises(PermissionDeniedError) as refused:
        await manager.change(BOB, "orders", "1", Delete(), expected=None)
    assert refused.value.metadata == {"permission": "orders:admin", "resource": "state/orders/1"}
    grants.on["bob", "orders:admin"] = {"state/orders/1"}
    with pytest.raises(PermissionDeniedError):
        await manager.change(BOB, "orders", "2", Delete(), expected=None)
    both = [Asked("orders", key, Transition("cancel"), None) for key in "12"]
    with pytest.raises(StateNotFoundError):
        await manager.transact(BOB, both)
    await manager.transact(BOB, both[:1])
    await manager.change(BOB, "orders", "1", Delete(), expected=None)
    del grants.on["bob", "orders:read"]
    with pytest.raises(StateNotFoundError):
        await manager.list_history(BOB, "orders", "1")


async def test_lists_hold_just_what_is_granted(manager, grants):
    """Beside one's own; a grant on the namespace is all of it. Who is granted another permission sees nothing more."""
    await _made(manager, "1", "2", "3")
    grants.on["bob", "orders:ship"] = {"state/orders/1"}
    assert _keys(await manager.list_states(BOB, "orders")) == []
    grants.on["bob", "orders:read"] = {"state/orders/3", "state/orders/1", "state/others/2"}
    assert _keys(await manager.list_states(BOB, "orders")) == ["1", "3"]
    counted = await manager.list_states(BOB, "orders", ListRequest(size=1, count_up_to=10))
    assert (_keys(counted), counted.count) == (["1"], 2)
    assert _keys(await manager.list_states(BOB, "orders", ListRequest(size=1, token=counted.next_token))) == ["3"]
    assert _keys(await manager.list_states(BOB, "orders", ListRequest(status="paid"))) == []
    await manager.change(replace(HANDLER, id="bob"), "orders", "4", Put(b'{"total": 1}'), expected=0)
    assert _keys(await manager.list_states(BOB, "orders")) == ["1", "3", "4"]
    own = ListRequest(filters=[Filter("owner", "eq", ("bob",))])
    assert _keys(await manager.list_states(BOB, "orders", own)) == ["4"]
    grants.on["bob", "orders:read"] = {"state/orders/"}
    assert _keys(await manager.list_states(BOB, "orders")) == ["1", "2", "3", "4"]


async def test_a_namespace_by_permission_alone(environment, grants):
    """Without any grant the list is refused, with the permission and the place. What is shown of an object follows its grants."""
    rules = replace(ORDERS.access, read=ORDERS.access.delete, list=ORDERS.access.delete, create=OPEN, write=ORDERS.access.delete)
    cost = FieldDeclaration("cost", ORDERS.access.delete, None)
    declaration = replace(ORDERS, access=rules, fields=(cost,), schema=None, transitions={})
    async with StateManager.open({"orders": declaration}, environment, max_data_bytes=1000) as manager:
        grants.by_subject["ada"] = {"orders:admin"}
        for key in "12":
            await manager.change(ADA, "orders", key, Put(b'{"n": 1, "cost": 7}'), expected=0)
        with pytest.raises(PermissionDeniedError) as refused:
            await manager.list_states(BOB, "orders")
        assert refused.value.metadata == {"permission": "orders:admin", "resource": "state/orders/"}
        with pytest.raises(PermissionDeniedError):
            await manager.get(BOB, [("orders", "1")])
        grants.on["bob", "orders:admin"] = {"state/orders/1"}
        (read,) = await manager.get(BOB, [("orders", "1")])
        (listed,) = (await manager.list_states(BOB, "orders")).items
        assert (read.data, read.owner) == (b'{"n": 1, "cost": 7}', "ada") == (listed.data, listed.owner)
        assert (await manager.change(BOB, "orders", "1", Patch(b'{"cost": 8}'), expected=None)).version == 2


async def test_watches_follow_what_is_granted(desk, grants):
    """Its changes and no others; a grant more or less begins anew with what there is to see then, and the last one ends it."""
    for key in "12":
        await desk.write(key, namespace="orders")
    grants.on["bob", "orders:read"] = {"state/orders/1"}
    watch, single = desk.watch(BOB, "orders"), desk.watch(BOB, "orders", "1")
    assert await watch.snapshot() == {"1": 1} == await single.snapshot()
    await desk.write("2", namespace="orders")
    await desk.write("1", namespace="orders")
    assert await watch.change() == ("1", 2, "updated") == await single.change()
    await desk.write("1", namespace="orders", change=Change.DELETED)
    assert await watch.change() == ("1", 3, "deleted") == await single.change()
    grants.on["bob", "orders:read"] = {"state/orders/1", "state/orders/2"}
    desk.watches.doubt()
    assert await watch.next() == Gap(GapReason.RIGHTS_CHANGED)
    assert await watch.snapshot() == {"2": 2}
    place = watch.position
    del grants.on["bob", "orders:read"]
    desk.watches.doubt()
    assert await watch.next() == Gap(GapReason.RIGHTS_CHANGED)
    assert await watch.snapshot() == {}
    again = desk.watch(BOB, "orders", position=place)
    assert await again.next() == Gap(GapReason.RIGHTS_CHANGED)
