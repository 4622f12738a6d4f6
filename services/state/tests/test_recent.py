"""Changes that begin with what this process wrote last: they read nothing, and are as right as those that read."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate_state.errors import StateTransitionNotAllowedError
from stylobate_state.model import Change, StateKey, StateRecord
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.recent import RecentStates
from stylobate_state.store.memory import MemoryStateStore

from .samples import ADA, BOB, HANDLER, deletion, write

NOTE = StateKey("default", "notes", "n")
ORDER = StateKey("default", "orders", "1")


class CountingStore(MemoryStateStore):
    """Counts what it is asked for; what another process does goes to it directly."""

    def __init__(self, clock):
        super().__init__(clock)
        self.reads = self.batches = 0

    async def read(self, keys):
        """Count."""
        self.reads += 1
        return await super().read(keys)

    async def write(self, writes):
        """Count."""
        self.batches += 1
        return await super().write(writes)


@pytest.fixture
def memory(clock):
    """Give the counting store in place of the plain one."""
    return CountingStore(clock)


async def test_a_change_begins_with_what_was_written_last(manager, memory):
    """One read for the creation, none from then on: by version or not, in a transaction or not, until it is deleted."""
    await manager.change(ADA, "notes", "n", Put(b'{"a": 1}'), expected=None)
    await manager.change(ADA, "notes", "n", Patch(b'{"b": 2}'), expected=None)
    await manager.change(BOB, "notes", "n", Patch(b'{"c": 3}'), expected=2)
    state = await manager.change(ADA, "notes", "n", Patch(b'{"a": null}'), expected=None)
    assert (memory.reads, memory.batches) == (1, 4)
    assert (state.version, json.loads(state.data), state.owner) == (4, {"b": 2, "c": 3}, "ada")
    await manager.change(ADA, "notes", "n", Delete(), expected=None)
    await manager.change(BOB, "notes", "n", Put(b"1"), expected=None)
    assert memory.objects[NOTE].owner == "bob"


async def test_what_another_process_changed_is_not_overwritten(manager, memory):
    """The merge is made into what stands there, at the cost of a statement."""
    await manager.change(ADA, "notes", "n", Put(b'{"a": 1}'), expected=None)
    await memory.write([write(NOTE, 1, b'{"a": 1, "theirs": 2}')])
    state = await manager.change(ADA, "notes", "n", Patch(b'{"c": 4}'), expected=None)
    assert (state.version, json.loads(state.data)) == (3, {"a": 1, "theirs": 2, "c": 4})


async def test_what_is_refused_for_what_is_not_so_any_more_is_decided_anew(manager, memory):
    """A status that another process has set meanwhile lets the event through; the guess alone would have refused it."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 2}'), expected=None)
    await memory.write([write(ORDER, 1, b'{"total": 2}', change=Change.TRANSITIONED, event="ship", status="paid")])
    await memory.write([write(ORDER, 2, b'{"total": 2}', change=Change.TRANSITIONED, event="back", status="pending")])
    state = await manager.change(ADA, "orders", "1", Transition("pay"), expected=3)
    assert (state.version, state.status) == (4, "paid")
    await memory.write([write(ORDER, 4, b'{"total": 2}', change=Change.TRANSITIONED, event="back", status="pending")])
    assert (await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)).version == 6


async def test_a_refusal_tells_what_stands_there(manager, memory):
    """Never what stood there: status, version and existence are those of now."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 2}'), expected=None)
    await memory.write([write(ORDER, 1, b'{"total": 2}', change=Change.TRANSITIONED, event="cancel", status="cancelled")])
    with pytest.raises(StateVersionConflictError) as conflict:
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=1)
    assert conflict.value.metadata == {"expected": "1", "actual": "2"}
    with pytest.raises(StateTransitionNotAllowedError) as refused:
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    assert refused.value.metadata["status"] == "cancelled"
    await memory.write([deletion(ORDER, 2)])
    await memory.write([write(ORDER, 0, b'{"total": 3}', status="pending", owner="bob")])
    with pytest.raises(StateNotFoundError):
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)


async def test_a_database_that_lost_changes_gives_a_version_again(manager, memory):
    """The version is the same and another one: nothing is built on what is no more."""
    await manager.change(ADA, "notes", "n", Put(b'{"a": 1}'), expected=None)
    await manager.change(ADA, "notes", "n", Patch(b'{"lost": 2}'), expected=None)
    kept = memory.objects[NOTE]
    memory.objects[NOTE] = replace(kept, data=b'{"a": 1, "other": 3}', updated_at=kept.updated_at + timedelta(microseconds=1))
    state = await manager.change(ADA, "notes", "n", Patch(b'{"b": 4}'), expected=None)
    assert (state.version, json.loads(state.data)) == (3, {"a": 1, "other": 3, "b": 4})


async def test_who_lost_an_object_hears_nothing_of_it(manager, memory):
    """What another process gave away is another's: who had it is answered as anybody else is, and nothing is written."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 2}'), expected=None)
    await memory.write([write(ORDER, 1, b'{"total": 2}', change=Change.ASSIGNED, owner="bob")])
    for expected in (1, 2, 7, None):
        with pytest.raises(StateNotFoundError):
            await manager.change(ADA, "orders", "1", Transition("pay"), expected=expected)
    assert memory.objects[ORDER].version == 2


async def test_an_object_that_was_made_again_is_not_the_one_that_was(manager, memory):
    """Its versions go on: a merge is made into what stands there, and a version of before is refused."""
    await manager.change(ADA, "notes", "n", Put(b'{"a": 1}'), expected=None)
    await memory.write([deletion(NOTE, 1)])
    await memory.write([write(NOTE, 0, b'{"theirs": 2}')])
    with pytest.raises(StateVersionConflictError):
        await manager.change(ADA, "notes", "n", Patch(b'{"b": 3}'), expected=1)
    state = await manager.change(ADA, "notes", "n", Patch(b'{"b": 3}'), expected=None)
    assert (state.version, json.loads(state.data)) == (4, {"theirs": 2, "b": 3})


async def test_a_race_within_this_process_makes_nobody_else_read(manager, memory):
    """Callers who say the same version spoil each other's guess only: what this process wrote last is known all the same."""
    await manager.change(ADA, "notes", "n", Put(b"{}"), expected=None)
    await manager.change(ADA, "notes", "other", Put(b"{}"), expected=None)
    asked = (manager.change(ADA, "notes", "n", Patch(b'{"a": %d}' % number), expected=1) for number in range(9))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, StateVersionConflictError) for answer in answers) == 8
    before = memory.reads
    await manager.change(ADA, "notes", "other", Patch(b'{"b": 1}'), expected=None)
    await manager.change(ADA, "notes", "n", Patch(b'{"b": 1}'), expected=2)
    assert memory.reads == before


def test_wrong_guesses_are_followed_by_longer_rests(clock):
    """Where another process changes the same objects, ever fewer changes begin with a guess; right ones bring them back."""
    recent = RecentStates()

    def keep():
        recent.keep(StateRecord(NOTE, 1, "", b"{}", "ada", clock(), clock()))

    def rest():
        keep()
        count = 0
        while recent.guess(NOTE) is None:
            count += 1
        return count

    rests = []
    rest()
    for _ in range(4):
        recent.was_wrong(recent.guess(NOTE))
        rests.append(rest())
    assert rests == [2, 4, 8, 16]
    for _ in range(3):
        recent.was_right()
    recent.was_wrong(recent.guess(NOTE))
    assert rest() == 4


def test_what_is_kept_is_bounded(clock):
    """The objects written last, none of them large, none deleted."""
    recent = RecentStates()
    plain = StateRecord(NOTE, 1, "", b"{}", "ada", clock(), clock())
    for number in range(5000):
        recent.keep(replace(plain, key=NOTE._replace(key=str(number))))
    assert len(recent) == 2048
    assert recent.guess(NOTE._replace(key="4999")) is not None
    for odd in (replace(plain, data=b'"%s"' % (b"x" * 5000)), replace(plain, is_deleted=True)):
        recent.keep(replace(odd, key=NOTE._replace(key="4999")))
        assert recent.guess(NOTE._replace(key="4999")) is None
        recent.keep(replace(plain, key=NOTE._replace(key="4999")))
