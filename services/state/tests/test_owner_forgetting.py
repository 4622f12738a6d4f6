"""`on_owner_deleted`: what becomes of objects and of an id in the log, when an account is deleted: over memory and PostgreSQL."""

from dataclasses import replace

import pytest
from stylobate.errors import InvalidInputError
from stylobate_state import owner_forgetter
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.model import HistoryQuery, StateKey
from stylobate_state.operation import Delete, Put
from stylobate_state.owner_forgetter import OwnerForgetter
from stylobate_state.state_manager import StateManager
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_forgetting import MemoryForgettingStore

from .samples import ADA, BOB, NOTES

DECLARED = {
    name: replace(NOTES, name=name, on_owner_deleted=says)
    for name, says in (("bills", "anonymize"), ("drafts", "delete"), ("ledger", "keep"))
}


@pytest.fixture
async def parts(open_kept_or_none, environment, clock, monkeypatch):
    """Give a manager over each adapter in turn, and what forgets owners, in steps of a few."""
    monkeypatch.setattr(owner_forgetter, "_AT_ONCE", 2)
    monkeypatch.setattr(owner_forgetter, "_ROWS", 3)
    if open_kept_or_none is None:
        store = MemoryStateStore(clock)
        forgetting = MemoryForgettingStore(store)
    else:
        kept = await open_kept_or_none()
        store, forgetting = kept.store, kept.forgetting
    environment = replace(environment, store=store)
    async with StateManager.open(DECLARED, environment, max_data_bytes=10_000) as manager:
        forgetter = HistoryForgetter(forgetting, manager.namespaces, environment.clock() - environment.clock())
        yield manager, OwnerForgetter(manager.namespaces, environment, manager.writer, dict.fromkeys(DECLARED, forgetter)), store


async def _all(forgetter, owner="ada"):
    place, steps = "", 0
    while place or not steps:
        _, place = await forgetter.step("default", owner, place)
        steps += 1
        assert steps < 100
    return steps


async def _history(store, namespace, key):
    return (await store.list_history(HistoryQuery(StateKey("default", namespace, key), 100))).items


async def _filled(manager):
    for namespace in DECLARED:
        for key in ("a", "b", "c"):
            await manager.change(ADA, namespace, key, Put(b'{"by": "ada"}'), expected=0)
        await manager.change(BOB, namespace, "a", Put(b'{"by": "bob"}'), expected=1)
        await manager.change(ADA, namespace, "gone", Put(b'{"by": "ada"}'), expected=0)
        await manager.change(ADA, namespace, "gone", Delete(), expected=1)
        await manager.change(BOB, namespace, "bob", Put(b'{"by": "bob"}'), expected=0)
        await manager.change(ADA, namespace, "bob", Put(b'{"by": "ada"}'), expected=1)


async def test_each_namespace_does_as_it_says(parts):
    """Objects go or are nobody's, the id stands nowhere, and rows, versions and what happened stay; others' objects too."""
    manager, forgetter, store = parts
    await _filled(manager)
    before = {name: await _history(store, name, "bob") for name in DECLARED}
    await _all(forgetter)

    drafts = [StateKey("default", "drafts", key) for key in ("a", "b", "c", "gone", "bob")]
    found = await store.read(drafts)
    assert [found[key].is_deleted for key in drafts] == [True, True, True, True, False]
    assert [found[key].owner for key in drafts] == ["", "", "", "", "bob"]
    for key in ("a", "b", "c", "gone"):
        entries = await _history(store, "drafts", key)
        assert all(entry.is_forgotten for entry in entries)
        assert not any(entry.data for entry in entries)
    assert [(entry.version, entry.change) for entry in await _history(store, "drafts", "a")] == [
        (3, "deleted"),
        (2, "updated"),
        (1, "created"),
    ]

    bills = await store.read([StateKey("default", "bills", key) for key in ("a", "b", "c")])
    owners = [state.owner for state in bills.values()]
    assert len({*owners}) == 3
    assert all(owner.startswith("deleted-") for owner in owners)
    assert [state.data for state in bills.values()] == [b'{"by": "bob"}', b'{"by": "ada"}', b'{"by": "ada"}']
    assert not any(entry.is_forgotten for entry in await _history(store, "bills", "gone"))

    for name in ("bills", "drafts"):
        for key in ("a", "b", "c", "gone", "bob"):
            for entry in await _history(store, name, key):
                assert "ada" not in {entry.actor, entry.owner, entry.previous_owner}
        assert [replace(entry, actor="") for entry in await _history(store, name, "bob")] == [
            replace(entry, actor="") for entry in before[name]
        ], "what is another's keeps its data"
    assert (await store.read([StateKey("default", "ledger", "a")]))[StateKey("default", "ledger", "a")].owner == "ada"
    assert await _history(store, "ledger", "bob") == before["ledger"]


async def test_begun_anew_it_passes_over_what_was_done(parts):
    """A second run finds nothing to change, and nothing is written."""
    manager, forgetter, store = parts
    await _filled(manager)
    await forgetter.step("default", "ada", "")
    await _all(forgetter)
    done = {name: await _history(store, name, "a") for name in DECLARED}
    await _all(forgetter)
    assert {name: await _history(store, name, "a") for name in DECLARED} == done
    await _all(forgetter, "nobody")
    assert {name: await _history(store, name, "a") for name in DECLARED} == done


async def test_a_place_of_another_owner_is_none(parts):
    """It is refused."""
    manager, forgetter, _ = parts
    await _filled(manager)
    _, place = await forgetter.step("default", "ada", "")
    for wrong in ("x", place):
        with pytest.raises(InvalidInputError):
            await forgetter.step("default", "bob", wrong)


async def test_no_data_of_an_event_is_left(parts, open_kept_or_none):
    """On a server the rows of the log are there, and hold neither data nor the id."""
    if open_kept_or_none is None:
        pytest.skip("memory has no rows")
    manager, forgetter, _ = parts
    await _filled(manager)
    await _all(forgetter)
    rows = [row for row in await (await open_kept_or_none()).events() if row["stream"] in {"bills", "drafts"}]
    assert len(rows) == 2 * 8 + 3 + 3
    assert not [row for row in rows if row["actor"] == "ada" or '"ada"' in row["data"].replace('"by": "ada"', "")]
    assert not [row for row in rows if row["stream"] == "drafts" and '"by": "ada"' in row["data"] and '"bob"' not in row["data"]]
