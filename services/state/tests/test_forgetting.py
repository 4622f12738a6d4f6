"""`history: N` and `retention`: what is shown, and what loses its data for good; over memory and real PostgreSQL."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate.outbox import Position
from stylobate.testing import FakeClock
from stylobate_state.errors import (
    StateEphemeralError,
    StateKeyInvalidError,
    StateNamespaceUnknownError,
    StateVersionForgottenError,
    StateVersionNotFoundError,
)
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.history_reader import Moment
from stylobate_state.model import HistoryQuery, StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.operation import Delete, Put, Restore
from stylobate_state.state_manager import StateManager
from stylobate_state.store.forgetting import Erased, Forgetting, Forgot
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_forgetting import MemoryForgettingStore

from .samples import ADA, NOTES, deletion, write

A = StateKey("default", "notes", "a")
NOW, DAY = timedelta(), timedelta(days=1)
LAST_TWO = Forgetting("notes", NOW, 2)
DELETED = Forgetting("notes", NOW)


class Shop:
    """A store with what forgets, and what numbers its events."""

    def __init__(self, store, forgetting, numbering=None):
        self.store, self.forgetting, self.numbering = store, forgetting, numbering

    async def write(self, *writes, numbered=True):
        """Write one after the other, and give the events their numbers."""
        for one in writes:
            await self.store.write([one])
        if numbered and self.numbering is not None:
            await self.numbering.number(1)

    async def forgotten(self, key=A):
        """Return the versions that lost their data; what is empty otherwise is a deletion."""
        entries = (await self.store.list_history(HistoryQuery(key, 100))).items
        assert all(entry.is_forgotten or (entry.data != b"") is (entry.change != "deleted") for entry in entries)
        assert not any(entry.data for entry in entries if entry.is_forgotten)
        return sorted(entry.version for entry in entries if entry.is_forgotten)


@pytest.fixture
async def shop(open_kept_or_none):
    """Give the parts of each adapter in turn."""
    if open_kept_or_none is None:
        store = MemoryStateStore(FakeClock())
        return Shop(store, MemoryForgettingStore(store))
    return await numbered_shop(await open_kept_or_none())


async def numbered_shop(kept):
    """Return the parts on a server, of which one may number."""
    await kept.numbering.claim(1)
    return Shop(kept.store, kept.forgetting, kept.numbering)


async def test_versions_beyond_the_newest_lose_their_data(shop):
    """Of each object the newest stay; what happened stays of all, and so does the object. Later ones follow."""
    other = StateKey("default", "other", "a")
    await shop.write(write(A, 0, b"[0]"), *(write(A, n, b"[1]", actor="bob") for n in range(1, 5)))
    await shop.write(write(A._replace(key="b"), 0), *(write(other, n) for n in range(4)))
    before = (await shop.store.list_history(HistoryQuery(A, 100))).items
    assert await shop.forgetting.forget(replace(LAST_TWO, age=DAY), 100) == Forgot(0, has_more=False)
    assert await shop.forgetting.forget(LAST_TWO, 100) == Forgot(3, has_more=False)
    assert (await shop.forgotten(), await shop.forgotten(A._replace(key="b")), await shop.forgotten(other)) == ([1, 2, 3], [], [])
    after = (await shop.store.list_history(HistoryQuery(A, 100))).items
    assert [replace(entry, data=b"", is_forgotten=False) for entry in after] == [replace(entry, data=b"") for entry in before]
    assert (await shop.store.read([A]))[A].data == b"[1]"
    assert await shop.forgetting.forget(LAST_TWO, 100) == Forgot(0, has_more=False)
    await shop.write(write(A, 5, b"[2]"))
    assert (await shop.forgetting.forget(LAST_TWO, 100)).versions == 1
    assert await shop.forgotten() == [1, 2, 3, 4]
    assert (await shop.forgetting.forget(replace(LAST_TWO, behind=1), 100)).versions == 1, "another number begins anew"


async def test_what_was_deleted_loses_its_data(shop):
    """All versions below the deletion, unless it was undone, whatever came after at the key."""
    await shop.write(write(A, 0, b"[1]"), deletion(A), write(A, 0, b"[1]", restored_from=1))
    assert await shop.forgetting.forget(DELETED, 100) == Forgot(0, has_more=False)
    await shop.write(deletion(A), write(A, 0, b"[2]", owner="bob"))
    assert await shop.forgetting.forget(replace(DELETED, age=DAY), 100) == Forgot(0, has_more=False)
    assert await shop.forgetting.forget(DELETED, 100) == Forgot(3, has_more=False)
    assert await shop.forgotten() == [1, 2, 3]
    assert (await shop.store.read([A]))[A].data == b"[2]"


async def test_an_object_is_erased_at_once(shop):
    """All that ever stood at the key, with a number or without; what an object says now stays, and so do its neighbours."""
    await shop.write(write(A, 0, b"[1]"), write(A, 1, b"[2]"), write(A._replace(key="b"), 0))
    await shop.write(write(A, 2, b"[3]"), numbered=False)
    assert await shop.forgetting.erase(A) == Erased(2, 3)
    assert (await shop.store.read([A]))[A].data == b"[3]"
    assert await shop.forgotten() == [1, 2]
    await shop.write(deletion(A))
    assert await shop.forgetting.erase(A) == Erased(2, 0)
    assert (await shop.forgotten(), await shop.forgotten(A._replace(key="b"))) == ([1, 2, 3, 4], [])
    assert await shop.forgetting.erase(A) == await shop.forgetting.erase(A._replace(key="never")) == Erased(0, 0)


async def test_erasing_needs_a_name(keeping, memory):
    """Of a namespace that is declared, and a key that can be one."""
    forgetter = HistoryForgetter(MemoryForgettingStore(memory), keeping.namespaces, DAY)
    await keeping.change(ADA, "notes", "n", Put(b"[1]"), expected=0)
    await keeping.change(ADA, "notes", "n", Delete(), expected=None)
    with pytest.raises(StateNamespaceUnknownError):
        await forgetter.erase(StateKey("default", "nots", "n"))
    with pytest.raises(StateKeyInvalidError):
        await forgetter.erase(StateKey("default", "notes", "a/b"))
    with pytest.raises(StateEphemeralError):
        await HistoryForgetter(MemoryForgettingStore(memory), keeping.namespaces, DAY, {"notes"}).erase(A)
    assert await forgetter.erase(StateKey("default", "notes", "n")) == Erased(2, 0)
    with pytest.raises(StateVersionForgottenError):
        await keeping.change(ADA, "notes", "n", Restore(1), expected=0)


async def test_only_the_log_is_followed_step_by_step(open_kept):
    """What has no number yet is not touched, steps go on where the last one ended, two at once do it once."""
    kept = await open_kept()
    shop = await numbered_shop(kept)
    await shop.write(*(write(A, n, b'{"secret": 1}') for n in range(6)), numbered=False)
    assert await shop.forgetting.forget(LAST_TWO, 100) == Forgot(0, has_more=False)
    await kept.numbering.number(1)
    assert await shop.forgetting.forget(LAST_TWO, 4) == Forgot(2, has_more=True)
    done = await asyncio.gather(*(kept.forgetting.forget(LAST_TWO, 4) for _ in range(3)))
    assert sum(forgot.versions for forgot in done) == 2
    assert await shop.forgotten() == [1, 2, 3, 4]
    (said,) = [json.loads(one["data"]) for one in await kept.events() if one["version"] == 2]
    common = {"namespace": "notes", "key": "a", "status": "new", "actor": "ada"}
    assert said == common | {"version": 2, "data": None, "forgotten": True}
    page = await kept.log.read(Position.origin())
    assert len(page.events) == 6


@pytest.fixture
async def keeping(environment):
    """Give a manager whose notes keep three versions, and for a day what was deleted."""
    notes = replace(NOTES, history=3, deleted_for=DAY)
    async with StateManager.open({"notes": notes}, environment, max_data_bytes=10_000) as manager:
        yield manager


async def test_only_the_newest_versions_are_shown(keeping):
    """Older ones are in no list, and are refused as what was there: at a version, at a time, and to be restored."""
    for number in range(5):
        written = await keeping.change(ADA, "notes", "n", Put(b"[%d]" % number), expected=number)
    assert [entry.version for entry in (await keeping.list_history(ADA, "notes", "n")).items] == [5, 4, 3]
    assert (await keeping.version(ADA, "notes", "n", Moment(3))).data == b"[2]"
    with pytest.raises(StateVersionForgottenError) as refused:
        await keeping.version(ADA, "notes", "n", Moment(2))
    assert refused.value.http_status == 410
    with pytest.raises(StateVersionForgottenError):
        await keeping.change(ADA, "notes", "n", Restore(2), expected=None)
    with pytest.raises(StateVersionNotFoundError):
        await keeping.version(ADA, "notes", "n", Moment(6))
    assert (await keeping.change(ADA, "notes", "n", Restore(3), expected=5)).data == b"[2]"
    assert written.version == 5


async def test_a_deletion_can_be_undone_for_its_time(keeping, clock, memory):
    """Afterwards nothing but that it was deleted is to be seen, whether or not its data was taken away yet."""
    for key in ("kept", "lost"):
        await keeping.change(ADA, "notes", key, Put(b"[1]"), expected=0)
        await keeping.change(ADA, "notes", key, Delete(), expected=None)
    clock.advance(DAY - timedelta(seconds=1))
    assert (await keeping.change(ADA, "notes", "kept", Restore(1), expected=0)).version == 3
    clock.advance(timedelta(seconds=1))
    for _ in range(2):
        with pytest.raises(StateVersionForgottenError):
            await keeping.change(ADA, "notes", "lost", Restore(1), expected=0)
        with pytest.raises(StateVersionForgottenError):
            await keeping.version(ADA, "notes", "lost", Moment(1))
        assert [entry.version for entry in (await keeping.list_history(ADA, "notes", "lost")).items] == [2]
        await HistoryForgetter(MemoryForgettingStore(memory), keeping.namespaces, DAY * 7).step()
    await keeping.change(ADA, "notes", "lost", Put(b"[2]"), expected=0)
    entries = (await keeping.list_history(ADA, "notes", "lost")).items
    assert [(entry.version, entry.is_forgotten) for entry in entries] == [(3, False), (2, False), (1, True)]
    with pytest.raises(StateVersionForgottenError):
        await keeping.version(ADA, "notes", "lost", Moment(1))
    assert (await keeping.version(ADA, "notes", "kept", Moment(1))).data == b"[1]"


def test_each_namespace_has_the_rules_that_it_says():
    """None where nothing is said: nothing is taken away then."""
    spaces = [NOTES, replace(NOTES, history=5), replace(NOTES, deleted_for=DAY), replace(NOTES, history=5, deleted_for=DAY)]
    bound = [Namespace.of(one, [], max_data_bytes=100) for one in spaces]
    store = MemoryForgettingStore(MemoryStateStore(FakeClock()))
    rules = [[rule.rule for rule in HistoryForgetter(store, {one.name: one}, DAY).rules] for one in bound]
    assert rules == [[], ["history:5"], ["deleted"], ["history:5", "deleted"]]
