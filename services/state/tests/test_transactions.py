"""Operations on several objects: the rules of each as if it came alone, and all of them or none."""

import asyncio
import json
from dataclasses import replace

import pytest
from stylobate.clients.state import StateVersionConflictError
from stylobate.declarations.model import AccessRule, BeforeHook, NamespaceAccess, NamespaceDeclaration
from stylobate.errors import InvalidInputError, StylobateError, UnauthenticatedError
from stylobate.rpc.call import Cause
from stylobate_state.errors import StateContendedError
from stylobate_state.model import HistoryQuery, StateKey
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_writer import MAX_TRIES

from .samples import ADA, ANONYMOUS, BOB, HANDLER, NOTES, ORDERS, write
from .test_writer import ContestedStore

OPEN = AccessRule(("authenticated",))
GUARDED = NamespaceDeclaration(
    name="guarded",
    module="notes",
    access=NamespaceAccess(read=OPEN, list=OPEN, create=OPEN, write=OPEN, delete=OPEN),
    before={"created": BeforeHook("notes", "examine", "deny"), "updated": BeforeHook("notes", "examine", "deny")},
)
TOTAL = b'{"total": 5}'


@pytest.fixture
def memory(clock):
    """Give the contested store in place of the plain one."""
    return ContestedStore(clock)


@pytest.fixture
async def manager(environment):
    """Give a manager with a namespace whose creations and updates ask a hook, too."""
    declarations = {"orders": ORDERS, "notes": NOTES, "guarded": GUARDED}
    async with StateManager.open(declarations, environment, max_data_bytes=10_000) as manager:
        yield manager


def note(key: str, operation=None, expected: int | None = None) -> Asked:
    """Return an operation on a note."""
    return Asked("notes", key, operation or Put(b"1"), expected)


async def versions(memory, namespace="notes"):
    """Return the versions of what is there, by key; each has as many entries in its history."""
    found = {key.key: state.version for key, state in memory.objects.items() if key.namespace == namespace}
    for key, version in found.items():
        entries = await memory.list_history(HistoryQuery(StateKey("default", namespace, key), 100))
        assert len(entries.items) == version
    return found


async def test_every_operation_of_every_namespace(manager, memory, commits):
    """Put, patch, delete and a transition in two namespaces: one write of the store, the objects in the order asked for."""
    await manager.change(HANDLER, "orders", "1", Put(TOTAL), expected=0)
    await manager.transact(ADA, [note("patched", Put(b'{"a": 1}')), note("gone")])
    attempts = memory.attempts
    asked = [note("new"), note("patched", Patch(b'{"b": 2}'), 1), note("gone", Delete()), Asked("orders", "1", Transition("pay"))]
    states = await manager.transact(ADA, asked)
    assert [(state.key.key, state.version, state.status, state.is_deleted) for state in states] == [
        ("new", 1, "", False), ("patched", 2, "", False), ("gone", 2, "", True), ("1", 2, "paid", False),
    ]  # fmt: skip
    assert json.loads(states[1].data) == {"a": 1, "b": 2}
    assert memory.attempts == attempts + 1
    assert len(commits) == 3


@pytest.mark.parametrize(
    ("refused", "reason", "pointers"),
    [
        (Asked("orders", "1", Put(TOTAL), 1), "PERMISSION_DENIED", []),
        (Asked("orders", "1", Transition("pay", b'{"total": 1}')), "STATE_DATA_INVALID", ["/total"]),
        (Asked("orders", "1", Transition("ship")), "PERMISSION_DENIED", []),
        (Asked("orders", "1", Transition("fly")), "STATE_EVENT_UNKNOWN", []),
        (Asked("orders", "other", Transition("pay")), "STATE_NOT_FOUND", []),
        (Asked("orders", "1", Transition("pay"), 2), "STATE_VERSION_CONFLICT", []),
        (Asked("nowhere", "1", Put(b"1")), "STATE_NAMESPACE_UNKNOWN", []),
        (Asked("notes", "a/b", Put(b"1")), "STATE_KEY_INVALID", ["/key"]),
        (Asked("notes", "n", Put(b"{")), "STATE_DATA_INVALID", [""]),
        (Asked("notes", "n", Put(b"1"), -1), "INVALID_INPUT", ["/expected_version"]),
        (Asked("notes", "n", Put(b"1", "done")), "STATE_STATUS_NOT_WRITABLE", ["/status"]),
        (Asked("notes", "none", Patch(b"{}")), "STATE_NOT_FOUND", []),
        (Asked("notes", "first", Delete()), "INVALID_INPUT", ["/key"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_one_refused_operation_names_itself_and_nothing_is_written(manager, memory, refused, reason, pointers):
    """Whatever it is refused with alone refuses all, with its index and the places within it."""
    await manager.change(HANDLER, "orders", "1", Put(TOTAL), expected=0)
    with pytest.raises(StylobateError) as error:
        await manager.transact(ADA, [note("first"), note("second"), refused, note("last")])
    assert (error.value.reason, error.value.metadata["index"]) == (reason, "2")
    assert [violation.pointer for violation in error.value.violations] == pointers
    assert (await versions(memory), await versions(memory, "orders")) == ({}, {"1": 1})


async def test_the_first_that_is_refused_is_named(manager):
    """In the order in which they were sent; nothing is said of those behind it."""
    with pytest.raises(StylobateError) as error:
        await manager.transact(BOB, [Asked("orders", "b", Put(TOTAL)), note("a", Put(b"{"))])
    assert (error.value.reason, error.value.metadata["index"]) == ("PERMISSION_DENIED", "0")


async def test_who_can_change_nothing_hears_of_that_first(environment):
    """Without a token nothing is said about the form, unless some namespace is open to everyone."""
    shut = {"orders": ORDERS, "notes": NOTES}
    async with StateManager.open(shut, environment, max_data_bytes=1000) as manager:
        with pytest.raises(UnauthenticatedError):
            await manager.transact(ANONYMOUS, [])
    public = replace(NOTES, access=replace(NOTES.access, create=AccessRule(("public",))))
    async with StateManager.open(shut | {"notes": public}, environment, max_data_bytes=1000) as manager:
        with pytest.raises(InvalidInputError):
            await manager.transact(ANONYMOUS, [])
        assert [state.owner for state in await manager.transact(ANONYMOUS, [note("a"), note("b")])] == ["", ""]


@pytest.mark.parametrize("count", [0, 51])
async def test_none_and_too_many_are_refused(manager, count):
    """With the place."""
    with pytest.raises(InvalidInputError) as error:
        await manager.transact(ADA, [note(f"{number}") for number in range(count)])
    assert [violation.pointer for violation in error.value.violations] == ["/operations"]


async def test_objects_that_are_too_large_together_are_refused(environment, memory):
    """What one answer cannot hold is not written, and the caller is told so before anything happens."""
    async with StateManager.open({"notes": NOTES}, environment, max_data_bytes=262_144) as manager:
        with pytest.raises(InvalidInputError) as error:
            await manager.transact(ADA, [note(f"{number}", Put(b'"' + b"x" * 200_000 + b'"')) for number in range(50)])
    assert [violation.pointer for violation in error.value.violations] == ["/operations"]
    assert await versions(memory) == {}


async def test_a_version_that_loses_at_the_last_moment_is_a_conflict(manager, memory):
    """Another process writes between the read and the compare-and-set: the operation is named, with what stands there."""
    await manager.transact(ADA, [note("a"), note("b")])
    memory.rivals = [[write(StateKey("default", "notes", "b"), 1)]]
    with pytest.raises(StateVersionConflictError) as error:
        await manager.transact(ADA, [note("a", expected=1), note("b", expected=1)])
    assert error.value.metadata == {"expected": "1", "actual": "2", "index": "1"}
    assert await versions(memory) == {"a": 1, "b": 2}


async def test_without_versions_all_is_made_anew_from_what_stands_there(manager, memory):
    """A patch that lost is merged into what the other wrote, together with all of its transaction."""
    await manager.transact(ADA, [note("a", Put(b'{"n": 1}')), note("b", Put(b'{"n": 1}'))])
    memory.rivals = [[write(StateKey("default", "notes", "b"), 1, b'{"theirs": 1}')]]
    states = await manager.transact(ADA, [note("a", Patch(b'{"ours": 1}')), note("b", Patch(b'{"ours": 1}'))])
    assert [(state.version, json.loads(state.data)) for state in states] == [
        (2, {"n": 1, "ours": 1}),
        (3, {"theirs": 1, "ours": 1}),
    ]


async def test_contention_ends_with_nothing_written(manager, memory):
    """After the last try the operation that lost is named, and the others left nothing."""
    await manager.transact(ADA, [note("a"), note("b")])
    memory.rivals = [[write(StateKey("default", "notes", "b"), number)] for number in range(1, MAX_TRIES + 1)]
    with pytest.raises(StateContendedError) as error:
        await manager.transact(ADA, [note("a", Patch(b"{}")), note("b", Patch(b"{}"))])
    assert error.value.metadata["index"] == "1"
    assert await versions(memory) == {"a": 1, "b": 1 + MAX_TRIES}
    assert len(manager._writer._locks) == 0


async def test_hooks_are_asked_when_all_else_is_decided(manager, memory, hooks):
    """In order, with the version seen; what they change is written, and the first refusal refuses all."""
    answers = iter([b'"signed"', b""])

    async def answer(_hook, _event):
        return next(answers)

    hooks.answer = answer
    with pytest.raises(StylobateError):
        await manager.transact(ADA, [Asked("guarded", "a", Put(b"1")), Asked("notes", "absent", Patch(b"{}"))])
    assert hooks.asked == []
    states = await manager.transact(ADA, [Asked("guarded", "a", Put(b"1")), Asked("guarded", "b", Put(b"2"))])
    assert [state.data for state in states] == [b'"signed"', b"2"]

    async def refuse(_hook, event):
        if event.subject == "b":
            raise StylobateError.of(code=StylobateError.code, reason="NO", detail="No.")
        return b""

    hooks.answer = refuse
    with pytest.raises(StylobateError) as error:
        await manager.transact(ADA, [Asked("guarded", "a", Put(b"3")), Asked("guarded", "b", Put(b"4"))])
    assert (error.value.reason, error.value.metadata["index"]) == ("NO", "1")
    assert await versions(memory, "guarded") == {"a": 1, "b": 1}


async def test_a_hook_that_is_too_deep_changes_nothing(manager, memory):
    """The depth that stops circles of hooks stops transactions; at a lower one each event carries it."""
    with pytest.raises(StylobateError) as error:
        await manager.transact(ADA, [note("a"), note("b")], cause=Cause(hook_depth=3))
    assert error.value.reason == "HOOK_RECURSION"
    await manager.transact(ADA, [note("a"), note("b")], cause=Cause(hook_depth=2, traceparent="00-1-2-01"))
    assert [(event.subject, event.depth, event.traceparent) for event in memory._outbox.written] == [
        ("a", 2, "00-1-2-01"),
        ("b", 2, "00-1-2-01"),
    ]


async def test_opposite_orders_wait_for_nobody_in_a_circle(manager, memory):
    """Transactions and single changes on the same objects, in whatever order: all of them happen."""
    keys = [f"k{number}" for number in range(6)]
    await manager.transact(ADA, [note(key, Put(b'{"n": 0}')) for key in keys])

    async def one(number: int):
        order = keys if number % 2 else keys[::-1]
        if number % 3:
            return await manager.transact(BOB, [note(key, Patch(f'{{"n{number}": 1}}'.encode())) for key in order])
        return await manager.change(BOB, "notes", order[0], Patch(f'{{"n{number}": 1}}'.encode()), expected=None)

    async with asyncio.timeout(30):
        await asyncio.gather(*map(one, range(30)))
    # 20 transactions, and 5 single changes at each end
    assert await versions(memory) == dict.fromkeys(keys, 21) | {keys[0]: 26, keys[-1]: 26}
