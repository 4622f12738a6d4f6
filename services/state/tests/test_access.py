"""Who may do what: every term of a rule, and what the refused and the absent tell."""

import pytest
from stylobate.clients.state import StateNotFoundError
from stylobate.errors import PermissionDeniedError, UnauthenticatedError
from stylobate.identity import Principal, PrincipalKind
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_lister import ListRequest

from .samples import ADA, ANONYMOUS, BOB, HANDLER


async def test_a_refusal_names_the_permission(manager, grants):
    """The error carries the permission that would do; an unknown caller is asked to log in instead."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=0)
    with pytest.raises(PermissionDeniedError) as denied:
        await manager.change(ADA, "orders", "1", Delete(), expected=None)
    assert denied.value.metadata == {"permission": "orders:admin", "resource": "state/orders/1"}
    assert denied.value.detail == "You may not delete orders/1. It takes: orders:admin."
    with pytest.raises(UnauthenticatedError):
        await manager.get(ANONYMOUS, [("orders", "1")])


async def test_writing_is_for_handlers_where_the_rule_says_so(manager):
    """``create: actions`` and ``write: actions`` refuse the owner himself when he comes directly."""
    with pytest.raises(PermissionDeniedError):
        await manager.change(ADA, "orders", "1", Put(b'{"total": 1}'), expected=None)
    state = await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=None)
    assert state.owner == "ada"
    for change in (
        manager.change(ADA, "orders", "1", Put(b'{"total": 2}'), expected=1),
        manager.change(ADA, "orders", "1", Patch(b'{"total": 2}'), expected=None),
        manager.change(ADA, "orders", "1", Delete(), expected=None),
    ):
        with pytest.raises(PermissionDeniedError):
            await change
    assert (await manager.get(ADA, [("orders", "1")]))[0].version == 1


async def test_a_transitions_own_access_stands_instead_of_write(manager, grants):
    """The owner may pay without `write`; who may write may not ship; an event without access of its own asks for `write`."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=None)
    with pytest.raises(StateNotFoundError):
        await manager.change(BOB.with_via("actions"), "orders", "1", Transition("pay"), expected=None)
    with pytest.raises(PermissionDeniedError):
        await manager.change(ADA, "orders", "1", Transition("amend"), expected=None)
    await manager.change(HANDLER, "orders", "1", Transition("amend"), expected=None)
    assert (await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)).status == "paid"
    with pytest.raises(PermissionDeniedError) as denied:
        await manager.change(HANDLER, "orders", "1", Transition("ship"), expected=None)
    assert denied.value.metadata == {"permission": "orders:ship", "resource": "state/orders/1"}
    grants.by_subject["bob"] = {"orders:ship"}
    assert (await manager.change(BOB, "orders", "1", Transition("ship"), expected=None)).status == "shipped"


async def test_owning_lasts_through_changes_by_others(manager, grants):
    """An administrator's change does not make the object his."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=None)
    await manager.change(BOB.with_via("actions"), "orders", "1", Patch(b'{"total": 2}'), expected=None)
    (state,) = await manager.get(ADA, [("orders", "1")])
    assert (state.owner, state.version) == ("ada", 2)


async def test_the_absent_is_hidden_from_who_could_never_see_it(manager, memory):
    """Where a rule could not let the caller at any object, absent and present look the same; else the absent is absent."""
    await manager.change(BOB, "notes", "there", Put(b"1"), expected=None)
    for key in ("there", "not"):
        with pytest.raises(UnauthenticatedError):
            await manager.get(ANONYMOUS, [("notes", key)])
        with pytest.raises(UnauthenticatedError):
            await manager.change(ANONYMOUS, "notes", key, Patch(b"{}"), expected=None)
        with pytest.raises(UnauthenticatedError):
            await manager.list_history(ANONYMOUS, "notes", key)
    await manager.change(HANDLER, "orders", "there", Put(b'{"total": 1}'), expected=None)
    for key in ("there", "not"):
        with pytest.raises(PermissionDeniedError):
            await manager.change(BOB, "orders", key, Delete(), expected=None)
    assert await manager.get(BOB, [("orders", "not")]) == []
    with pytest.raises(StateNotFoundError):
        await manager.change(BOB, "orders", "not", Transition("pay"), expected=None)
    with pytest.raises(StateNotFoundError):
        await manager.list_history(BOB, "orders", "not")


async def test_lists_show_ones_own_or_everything(manager, grants):
    """``owner`` narrows the query, a permission opens it, neither is a refusal; pages keep to it."""
    for number in range(6):
        await manager.change(
            HANDLER if number % 2 else BOB.with_via("actions"), "orders", f"{number}", Put(b'{"total": 1}'), expected=0
        )
    first = await manager.list_states(ADA, "orders", ListRequest(size=2))
    second = await manager.list_states(ADA, "orders", ListRequest(size=2, token=first.next_token))
    assert [state.key.key for state in (*first.items, *second.items)] == ["1", "3", "5"]
    assert second.next_token == ""
    grants.by_subject["ada"] = {"orders:read"}
    assert len((await manager.list_states(ADA, "orders")).items) == 6
    with pytest.raises(UnauthenticatedError):
        await manager.list_states(ANONYMOUS, "orders")


async def test_a_token_gives_no_right(manager):
    """Another's page token shows the caller's own objects only."""
    for number in range(4):
        await manager.change(
            HANDLER if number % 2 else BOB.with_via("actions"), "orders", f"{number}", Put(b'{"total": 1}'), expected=0
        )
    of_ada = await manager.list_states(ADA, "orders", ListRequest(size=1))
    assert [
        state.key.key for state in (await manager.list_states(BOB, "orders", ListRequest(token=of_ada.next_token))).items
    ] == ["2"]


async def test_a_new_owner_does_not_see_the_last_ones_history(manager, grants):
    """Who reads a history as owner sees the present object's; who may read everything sees all of the key."""
    grants.by_subject["root"] = {"orders:admin", "orders:read"}
    root = Principal(kind=PrincipalKind.USER, id="root")
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=0)
    await manager.change(root, "orders", "1", Delete(), expected=None)
    assert [e.version for e in (await manager.list_history(ADA, "orders", "1")).items] == [2, 1]
    await manager.change(BOB.with_via("actions"), "orders", "1", Put(b'{"total": 2}'), expected=0)
    assert [e.version for e in (await manager.list_history(BOB, "orders", "1")).items] == [3]
    assert [e.version for e in (await manager.list_history(root, "orders", "1")).items] == [3, 2, 1]
    with pytest.raises(StateNotFoundError):
        await manager.list_history(ADA, "orders", "1")
