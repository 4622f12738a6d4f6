"""Tenants never meet: what one has is not there for another, under the same keys and names."""

from dataclasses import replace

import pytest
from stylobate.declarations.model import AccessRule, NamespaceAccess
from stylobate.errors import StylobateError
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_manager import StateManager
from stylobate_state.store.port import StateStore

from .samples import ADA, ORDERS

ANYONE = AccessRule(("authenticated",))
OPEN = replace(ORDERS, schema=None, access=NamespaceAccess(ANYONE, ANYONE, ANYONE, ANYONE, ANYONE))
"""What a tenant's own people may all do."""
HERE, THERE = ADA, replace(ADA, tenant="another")
"""The same name in two tenants."""
OPERATIONS = {
    "get": lambda manager, caller: manager.get(caller, [("orders", "1")]),
    "list": lambda manager, caller: manager.list_states(caller, "orders"),
    "history": lambda manager, caller: manager.list_history(caller, "orders", "1"),
    "put at a version": lambda manager, caller: manager.change(caller, "orders", "1", Put(b"{}"), expected=1),
    "patch": lambda manager, caller: manager.change(caller, "orders", "1", Patch(b'{"a": 1}'), expected=None),
    "transition": lambda manager, caller: manager.change(caller, "orders", "1", Transition("pay"), expected=None),
    "delete": lambda manager, caller: manager.change(caller, "orders", "1", Delete(), expected=None),
}


async def told(asked):
    """Return what is answered, or how it is refused."""
    try:
        return await asked
    except StylobateError as error:
        return error.reason, error.detail, error.metadata


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_tenants_objects_are_not_there_for_another(environment, store: StateStore, operation: str) -> None:
    """Each operation is answered as where nothing was ever written, and what is there stays as it was."""
    empty = replace(THERE, tenant="empty")
    async with StateManager.open({"orders": OPEN}, replace(environment, store=store), max_data_bytes=1000) as manager:
        await manager.change(HERE, "orders", "1", Put(b'{"total": 5}'), expected=0)
        act = OPERATIONS[operation]
        assert await told(act(manager, THERE)) == await told(act(manager, empty))
        (state,) = await manager.get(HERE, [("orders", "1")])
        assert (state.version, state.status) == (1, "pending")
        assert len((await manager.list_history(HERE, "orders", "1")).items) == 1


async def test_the_same_key_is_two_objects(environment, store: StateStore) -> None:
    """Each has its versions, its status, its history; the end of one is not the other's."""
    async with StateManager.open({"orders": OPEN}, replace(environment, store=store), max_data_bytes=1000) as manager:
        for caller in (HERE, THERE):
            await manager.change(caller, "orders", "1", Put(b"{}"), expected=0)
        await manager.change(THERE, "orders", "1", Transition("pay"), expected=1)
        await manager.change(THERE, "orders", "2", Put(b"{}"), expected=0)
        await manager.change(HERE, "orders", "1", Delete(), expected=1)
        assert not (await manager.list_states(HERE, "orders")).items
        assert [state.key.key for state in (await manager.list_states(THERE, "orders")).items] == ["1", "2"]
        (state,) = await manager.get(THERE, [("orders", "1")])
        assert (state.version, state.status) == (2, "paid")
        assert [len((await manager.list_history(caller, "orders", "1")).items) for caller in (HERE, THERE)] == [2, 2]
