"""Changes that meet other changes, and a store that is not there."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.declarations.model import AccessRule, NamespaceAccess
from stylobate.errors import DatabaseUnavailableError
from stylobate_state.errors import (
    StateContendedError,
    StateTransitionNotAllowedError,
)
from stylobate_state.model import HistoryQuery, StateKey
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import MAX_TRIES
from stylobate_state.store.memory import MemoryStateStore

from .samples import ADA, BOB, HANDLER, NOTES, ORDERS, deletion, write

NOTE = StateKey("default", "notes", "n")
ORDER = StateKey("default", "orders", "1")
MINE = AccessRule(("authenticated",))


class ContestedStore(MemoryStateStore):
    """A store in which another process is faster: ``rivals`` are written one by one, a group of them before each batch."""

    def __init__(self, clock):
        super().__init__(clock)
        self.rivals = []
        self.attempts = 0

    async def write(self, writes):
        """Let the next rival write first."""
        self.attempts += 1
        for rival in self.rivals.pop(0) if self.rivals else ():
            await super().write([rival])
        return await super().write(writes)


@pytest.fixture
def memory(clock):
    """Give the contested store in place of the plain one."""
    return ContestedStore(clock)


async def test_a_creation_that_loses_becomes_an_update(manager, memory):
    """PUT without a version whose insert loses to another's is tried again, as the replacement that it is now."""
    memory.rivals = [[write(NOTE, 0, b'"theirs"', owner="bob")]]
    state = await manager.change(ADA, "notes", "n", Put(b'"ours"'), expected=None)
    assert (state.version, state.owner, state.data) == (2, "bob", b'"ours"')


async def test_a_creation_that_loses_is_decided_anew(manager, memory):
    """What it becomes is subject to the access that holds for that."""
    memory.rivals = [[write(ORDER, 0, b'{"total": 1}', status="pending", owner="bob")]]
    state = await manager.change(HANDLER, "orders", "1", Put(b'{"total": 2}'), expected=None)
    assert (state.version, state.status, state.owner) == (2, "pending", "bob")


async def test_create_only_that_loses_is_a_conflict(manager, memory):
    """`expected` 0 is not tried again, and the caller is told what stands there now."""
    memory.rivals = [[write(NOTE, 0)]]
    with pytest.raises(StateVersionConflictError) as conflict:
        await manager.change(ADA, "notes", "n", Put(b"1"), expected=0)
    assert conflict.value.metadata == {"expected": "0", "actual": "1"}
    assert memory.attempts == 1


async def test_an_exact_version_that_loses_is_a_conflict(manager, memory):
    """Losing between read and compare-and-set looks like having come too late; a deletion counts as absence."""
    await manager.change(ADA, "notes", "n", Put(b"1"), expected=None)
    memory.rivals = [[write(NOTE, 1)]]
    with pytest.raises(StateVersionConflictError) as conflict:
        await manager.change(ADA, "notes", "n", Patch(b"2"), expected=1)
    assert conflict.value.metadata == {"expected": "1", "actual": "2"}
    memory.rivals = [[deletion(NOTE)]]
    with pytest.raises(StateVersionConflictError) as conflict:
        await manager.change(ADA, "notes", "n", Delete(), expected=2)
    assert conflict.value.metadata == {"expected": "2", "actual": "0"}


async def test_a_merge_that_loses_is_merged_into_what_won(manager, memory):
    """PATCH without a version is made anew from what stands there, so that nobody's change is lost."""
    await manager.change(ADA, "notes", "n", Put(b'{"a": 1}'), expected=None)
    memory.rivals = [[write(NOTE, 1, b'{"a": 1, "b": 2}')], [write(NOTE, 2, b'{"a": 1, "b": 3}')]]
    state = await manager.change(ADA, "notes", "n", Patch(b'{"c": 4}'), expected=None)
    assert (state.version, json.loads(state.data)) == (4, {"a": 1, "b": 3, "c": 4})


async def test_a_transition_that_loses_is_judged_anew(manager, memory):
    """The second try sees the status that won, and is refused by it."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 2}'), expected=None)
    memory.rivals = [[write(ORDER, 1, b'{"total": 2}', status="cancelled")]]
    with pytest.raises(StateTransitionNotAllowedError) as refused:
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    assert refused.value.metadata["status"] == "cancelled"


async def test_tries_are_bounded(manager, memory):
    """Who loses every time is told so, with a time to come back, and nothing of his was written."""
    await manager.change(ADA, "notes", "n", Put(b"{}"), expected=None)
    memory.attempts = 0
    memory.rivals = [[write(NOTE, None, b'"theirs"')] for _ in range(1 + MAX_TRIES)]
    with pytest.raises(StateContendedError) as contended:
        await manager.change(ADA, "notes", "n", Patch(b'{"ours": 1}'), expected=None)
    assert memory.attempts == 1 + MAX_TRIES  # the first on what this process wrote last
    assert contended.value.retry_after == timedelta(seconds=1)
    assert (await manager.get(ADA, [("notes", "n")]))[0].data == b'"theirs"'


async def test_a_key_that_changed_hands_is_decided_anew(environment, memory):
    """A change for any version was allowed by who owned what was there; another owner's object needs another decision."""
    own = replace(NOTES, name="own", access=NamespaceAccess(create=MINE, write=AccessRule(("owner",)), delete=MINE))
    key = StateKey("default", "own", "n")
    async with StateManager.open({"own": own}, environment, max_data_bytes=1000) as manager:
        await manager.change(ADA, "own", "n", Put(b'"mine"'), expected=None)
        memory.rivals = [[deletion(key), write(key, 0, b'"theirs"', owner="bob")]]
        with pytest.raises(StateNotFoundError):
            await manager.change(ADA, "own", "n", Put(b'"mine again"'), expected=None)
    state = (await memory.read([key]))[key]
    assert (state.owner, state.data, state.version) == ("bob", b'"theirs"', 3)


async def test_callers_of_one_process_take_turns(manager, memory):
    """A hundred merges into one key at once are a hundred writes: none loses, none is tried twice, all arrive."""
    await manager.change(ADA, "notes", "n", Put(b"{}"), expected=None)
    memory.attempts = 0
    patches = (manager.change(ADA, "notes", "n", Patch(f'{{"k{number}": 1}}'.encode()), expected=None) for number in range(100))
    states = await asyncio.gather(*patches)
    assert sorted(state.version for state in states) == list(range(2, 102))
    assert memory.attempts == 100
    assert len(json.loads((await manager.get(ADA, [("notes", "n")]))[0].data)) == 100
    assert len(manager._writer._locks) == 0


async def test_transitions_of_several_processes_all_count(open_store, environment):
    """Two managers on one store, many transitions of one object without a version: each is one version, none is lost."""
    async with AsyncExitStack() as stack:
        managers = []
        for _ in range(2):
            there = replace(environment, store=await open_store(), pause=asyncio.sleep)
            managers.append(await stack.enter_async_context(StateManager.open({"orders": ORDERS}, there, max_data_bytes=1000)))
        await managers[0].change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=0)

        async def amend(number):
            patch = f'{{"k{number}": true}}'.encode()
            return await managers[number % 2].change(HANDLER, "orders", "1", Transition("amend", patch), expected=None)

        states = await asyncio.gather(*map(amend, range(40)))
        (state,) = await managers[1].get(ADA, [("orders", "1")])
        history = (await there.store.list_history(HistoryQuery(ORDER, 100))).items
    assert sorted(one.version for one in states) == list(range(2, 42))
    assert (state.version, len(json.loads(state.data))) == (41, 41)
    assert [entry.version for entry in history] == list(range(41, 0, -1))


class AbsentStore(MemoryStateStore):
    """A store whose database does not answer."""

    calls = 0

    async def read(self, keys):
        """Do not answer."""
        self.calls += 1
        raise DatabaseUnavailableError(metadata={"cause": "OSError"}, retry_after=timedelta(seconds=1))

    async def write(self, writes):
        """Do not answer."""
        await self.read([])


async def test_a_database_that_is_down_is_said_at_once(environment, clock):
    """Reads and writes are refused with a time to come back, a whole batch with one question, each with an error of its own."""
    absent = AbsentStore(clock)
    async with StateManager.open({"notes": NOTES}, replace(environment, store=absent), max_data_bytes=1000) as manager:
        reads = [manager.get(BOB, [("notes", f"{number}")]) for number in range(20)]
        errors = await asyncio.gather(*reads, return_exceptions=True)
        assert {(type(e), e.reason, e.http_status, e.retry_after) for e in errors} == {
            (DatabaseUnavailableError, "DATABASE_UNAVAILABLE", 503, timedelta(seconds=1))
        }
        assert len({id(error) for error in errors}) == 20
        assert absent.calls == 1
        submitted = [
            manager._writer._writes.of("notes").submit([write(StateKey("default", "notes", f"{n}"), 0)]) for n in range(20)
        ]
        errors = await asyncio.gather(*submitted, return_exceptions=True)
        assert {error.reason for error in errors} == {"DATABASE_UNAVAILABLE"}
        assert absent.calls == 2
