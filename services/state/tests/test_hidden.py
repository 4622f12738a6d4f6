"""What an object that a caller may not read tells: the same as one that is not there."""

from dataclasses import replace

import pytest
from stylobate.clients.state import StateNotFoundError
from stylobate.declarations.model import AccessRule, ChannelDeclaration, NamespaceAccess
from stylobate.errors import StylobateError
from stylobate_state.errors import StateKeyInvalidError
from stylobate_state.model import StateKey
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_lister import ListRequest
from stylobate_state.state_manager import StateManager

from .samples import ADA, ANONYMOUS, BOB, HANDLER, NOTES, ORDERS, write

MINE, ANYONE, NOBODY, PERMITTED = (AccessRule(terms) for terms in (("owner",), ("authenticated",), (), ("own:all",)))
HANDLERS = AccessRule(("actions",))
OWN = {
    "closed": NamespaceAccess(read=MINE, list=MINE, create=NOBODY, write=MINE, delete=MINE),
    "handled": NamespaceAccess(read=MINE, list=MINE, create=HANDLERS, write=HANDLERS, delete=PERMITTED),
    "permitted": NamespaceAccess(AccessRule(("owner", "own:all")), MINE, create=PERMITTED, write=PERMITTED, delete=PERMITTED),
    "secret": NamespaceAccess(read=PERMITTED, list=PERMITTED, create=NOBODY, write=MINE, delete=MINE),
}
OPERATIONS = {
    "get": lambda manager, caller, name, key: manager.get(caller, [(name, key)]),
    "history": lambda manager, caller, name, key: manager.list_history(caller, name, key),
    "put": lambda manager, caller, name, key: manager.change(caller, name, key, Put(b"{}"), expected=None),
    "put at a version": lambda manager, caller, name, key: manager.change(caller, name, key, Put(b"{}"), expected=7),
    "create only": lambda manager, caller, name, key: manager.change(caller, name, key, Put(b"{}"), expected=0),
    "put a status": lambda manager, caller, name, key: manager.change(caller, name, key, Put(b"{}", "paid"), expected=None),
    "put no json": lambda manager, caller, name, key: manager.change(caller, name, key, Put(b"{"), expected=None),
    "patch": lambda manager, caller, name, key: manager.change(caller, name, key, Patch(b"{}"), expected=None),
    "patch at a version": lambda manager, caller, name, key: manager.change(caller, name, key, Patch(b"{}"), expected=7),
    "pay": lambda manager, caller, name, key: manager.change(caller, name, key, Transition("pay"), expected=None),
    "pay with data": lambda manager, caller, name, key: manager.change(
        caller, name, key, Transition("pay", b'{"a":1}'), expected=7
    ),
    "amend": lambda manager, caller, name, key: manager.change(caller, name, key, Transition("amend"), expected=None),
    "delete": lambda manager, caller, name, key: manager.change(caller, name, key, Delete(), expected=None),
    "delete at a version": lambda manager, caller, name, key: manager.change(caller, name, key, Delete(), expected=7),
}


async def answer(asked, key: str):
    """Return all that a caller learns, with the key cut out."""
    try:
        return await asked
    except StylobateError as error:
        return error.reason, error.http_status, error.detail.replace(key, ""), tuple(error.metadata.items()), error.violations


def without_key(told, key: str):
    """Take the key out of the metadata too."""
    return repr(told).replace(key, "")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("caller", [BOB, ANONYMOUS, BOB.with_via("gateway")], ids=["bob", "nobody", "bob through the gateway"])
@pytest.mark.parametrize("name", OWN)
async def test_what_is_not_yours_looks_like_what_is_not_there(environment, memory, name, caller, operation):
    """Whatever is asked, in whatever way it is refused: status, reason, sentence and metadata are the same."""
    declaration = replace(ORDERS, name=name, schema=None, access=OWN[name])
    await memory.write([write(StateKey("default", name, "there"), 0, status="pending")])
    async with StateManager.open({name: declaration}, environment, max_data_bytes=1000) as manager:
        told = {
            kind: without_key(await answer(OPERATIONS[operation](manager, caller, name, kind), kind), kind)
            for kind in ("there", "none")
        }
    assert told["there"] == told["none"]


async def test_the_owner_and_who_may_read_hear_the_truth(environment, memory, grants):
    """A refusal of what one may see is a refusal."""
    declaration = replace(ORDERS, name="permitted", schema=None, access=OWN["permitted"])
    await memory.write([write(StateKey("default", "permitted", "1"), 0, status="pending")])
    async with StateManager.open({"permitted": declaration}, environment, max_data_bytes=1000) as manager:
        for change in (
            manager.change(ADA, "permitted", "1", Put(b"{}"), expected=7),
            manager.change(ADA, "permitted", "1", Patch(b"{}"), expected=None),
            manager.change(ADA, "permitted", "1", Delete(), expected=None),
        ):
            with pytest.raises(StylobateError) as refused:
                await change
            assert refused.value.reason == "PERMISSION_DENIED"
            assert refused.value.metadata == {"permission": "own:all", "resource": "state/permitted/1"}


async def test_who_may_create_hears_that_a_key_is_taken_as_not_found(environment):
    """It cannot be hidden from who could create it that nothing was created; whose it is and how it stands can."""
    own = replace(NOTES, name="own", access=replace(OWN["closed"], create=ANYONE))
    async with StateManager.open({"own": own}, environment, max_data_bytes=1000) as manager:
        await manager.change(ADA, "own", "1", Put(b"{}"), expected=None)
        for expected in (None, 0, 1):
            with pytest.raises(StateNotFoundError):
                await manager.change(BOB, "own", "1", Put(b"{}"), expected=expected)


OLD_KEYS = [" ", " a", "a ", "e\u0301", "a\ufffd", "%41"]


@pytest.mark.parametrize("key", OLD_KEYS)
async def test_a_key_of_another_form_is_refused_for_what_is_new(manager, key):
    """The error says which form is taken; reading and changing what is not there says the same, whoever asks."""
    for caller in (HANDLER, BOB, ANONYMOUS):
        for operation in OPERATIONS.values():
            with pytest.raises(StateKeyInvalidError):
                await operation(manager, caller, "orders", key)


@pytest.mark.parametrize("key", OLD_KEYS)
async def test_an_old_object_of_such_a_key_can_still_be_reached(manager, memory, grants, key):
    """By whom its rules let in: it can be read, listed, moved and deleted, and then not be made again."""
    grants.by_subject["ada"] = {"orders:admin"}
    at = StateKey("default", "orders", key)
    await memory.write([write(at, 0, b'{"total": 1}', status="pending")])
    assert [state.key.key for state in await manager.get(ADA, [("orders", key)])] == [key]
    assert [state.key.key for state in (await manager.list_states(ADA, "orders")).items] == [key]
    assert (await manager.change(ADA, "orders", key, Transition("pay"), expected=1)).status == "paid"
    assert len((await manager.list_history(ADA, "orders", key)).items) == 2
    with pytest.raises(StateKeyInvalidError):
        await manager.get(BOB, [("orders", key)])
    await manager.change(ADA, "orders", key, Delete(), expected=2)
    with pytest.raises(StateKeyInvalidError):
        await manager.change(HANDLER, "orders", key, Put(b'{"total": 1}'), expected=None)


async def test_a_key_fits_into_the_name_of_its_channel(environment):
    """Where channels follow the objects of a namespace, a key is as long as leaves them a name, percent-encoding included."""
    channels = {"orders": ChannelDeclaration("orders", "shop", subscribe="state:notes"), "x": ChannelDeclaration("x", "shop")}
    async with StateManager.open({"notes": NOTES}, environment, max_data_bytes=1000, channels=channels) as manager:
        await manager.change(ADA, "notes", "k" * 248, Put(b"1"), expected=0)
        await manager.change(ADA, "notes", "é" * 41, Put(b"1"), expected=0)
        for key in ("k" * 249, "é" * 42):
            with pytest.raises(StateKeyInvalidError, match="orders:"):
                await manager.change(ADA, "notes", key, Put(b"1"), expected=0)


@pytest.mark.parametrize("status", ["foo", "\0", "PAID", "paid ", "pending,paid"])
async def test_a_status_that_the_namespace_does_not_have_is_refused(manager, status):
    """An empty list would say that there are none of it; the error names those that there are."""
    with pytest.raises(StylobateError) as refused:
        await manager.list_states(ADA, "orders", ListRequest(status=status))
    assert [violation.pointer for violation in refused.value.violations] == ["/status"]
    assert "cancelled, paid, pending, shipped" in refused.value.violations[0].detail
    with pytest.raises(StylobateError) as refused:
        await manager.list_states(ADA, "notes", ListRequest(status=status))
    assert "has none" in refused.value.violations[0].detail
