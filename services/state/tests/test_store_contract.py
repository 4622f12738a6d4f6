"""What every store with a history must do, over memory and real PostgreSQL; test_any_store_contract.py says the rest."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate_state.model import Change, HistoryQuery, ListQuery, Refused, StateKey, TimerStart

from .samples import deletion, write

A = StateKey("default", "orders", "a")
B = StateKey("default", "orders", "b")


async def history(store, key, **query):
    """Return the history of the key."""
    return (await store.list_history(HistoryQuery(key, **{"limit": 100} | query))).items


async def test_any_version_keeps_the_status_of_the_moment(store):
    """A write for any version takes the status that a transition has set meanwhile, and says so."""
    await store.write([write(A, 0, status="pending")])
    await store.write([write(A, 1, change=Change.TRANSITIONED, status="paid", event="pay", from_status="pending")])
    (written,) = await store.write([write(A, None, b"[3]")])
    assert (written.version, written.status) == (3, "paid")
    assert (await store.read([A]))[A].status == "paid"
    assert (await history(store, A))[0].to_status == "paid"


async def test_history_tells_every_change(store):
    """Each version stands in the history with change, event, statuses, data, actor, time and event id."""
    writes = [
        write(A, 0, b"[1]", status="pending", actor="ada"),
        write(A, 1, b"[2]", actor="bob"),
        write(A, 2, b"[3]", change=Change.TRANSITIONED, status="paid", event="pay", from_status="pending"),
        deletion(A, 3, actor="root"),
    ]
    times = [(await store.write([one]))[0].updated_at for one in writes]
    entries = await history(store, A)
    told = [(e.version, e.change, e.event, e.from_status, e.to_status, e.data, e.actor) for e in entries]
    assert told == [
        (4, Change.DELETED, "", "paid", "", b"", "root"),
        (3, Change.TRANSITIONED, "pay", "pending", "paid", b"[3]", "ada"),
        (2, Change.UPDATED, "", "pending", "pending", b"[2]", "bob"),
        (1, Change.CREATED, "", "", "pending", b"[1]", "ada"),
    ]
    assert [e.event_id for e in reversed(entries)] == [one.event_id for one in writes]
    assert [e.time for e in reversed(entries)] == times == sorted(times)


async def test_history_is_paged_and_bounded(store):
    """``limit`` cuts, ``before`` goes on behind a page, ``since`` hides what came before."""
    for version in range(5):
        await store.write([write(A, version)])
    assert [e.version for e in await history(store, A, limit=2)] == [5, 4]
    assert [e.version for e in await history(store, A, limit=2, before=4)] == [3, 2]
    assert [e.version for e in await history(store, A, since=3)] == [5, 4, 3]
    assert [e.version for e in await history(store, A, since=3, before=4)] == [3]


@pytest.mark.parametrize(
    "number", ["9007199254740993", "18446744073709551615", "0.1", "1.10", "0.12345678901234567890123", "-0.5"]
)
async def test_numbers_survive_in_the_history(store, number):
    """No number passes through a double on its way into the history: not beyond 2**53, not with many or trailing decimals."""
    await store.write([write(A, 0, f'{{"n": {number}}}'.encode())])
    assert f": {number}}}".encode() in (await history(store, A))[0].data


async def test_lists_are_filtered_sorted_and_paged(store):
    """Living objects of one namespace by code points of their keys; status, owner, ``after`` and limit are part of the query."""
    names = ["b", "a", "B", "ä", "c", "gone", "other"]
    await store.write([write(StateKey("default", "orders", name), 0, status="new") for name in names])
    await store.write([write(StateKey("default", "elsewhere", "a"), 0)])
    await store.write([deletion(StateKey("default", "orders", "gone"))])
    await store.write([write(StateKey("default", "orders", "bobs"), 0, owner="bob", status="old")])

    async def keys(**query):
        query = {"limit": 10} | query
        return [state.key.key for state in (await store.list_states(ListQuery("default", "orders", **query))).items]

    assert await keys() == ["B", "a", "b", "bobs", "c", "other", "ä"]
    assert await keys(limit=2) == ["B", "a"]
    assert await keys(limit=2, after="a") == ["b", "bobs"]
    assert await keys(owner="bob") == ["bobs"]
    assert await keys(owner="ada", status="old") == []
    assert await keys(status="old") == ["bobs"]
    assert await keys(status="new", owner="ada", after="c") == ["other", "ä"]


async def test_whose_an_earlier_object_of_a_key_was(store):
    """The newest creation or hand-over below the version counts, whoever made it; there may be none."""
    await store.write([write(A, 0, owner="ada", actor="ada")])
    await store.write([write(A, 1, owner="ada", actor="eve")])
    await store.write([deletion(A, owner="ada", actor="eve")])
    await store.write([write(A, 0, owner="bob", actor="bob")])
    await store.write([write(A, 4, owner="carl", actor="root", change=Change.ASSIGNED)])
    owners = [await store.owner_before(A, version) for version in (1, 2, 3, 4, 5, 6)]
    assert owners == [None, "ada", "ada", "ada", "bob", "carl"]


async def test_history_says_what_was_written_under_which_schema_version(store):
    """Each entry has its own, also in a batch with others; 1 where nothing else was said."""
    await store.write([write(A, 0), write(B, 0, schema_version=3)])
    await store.write([write(A, 1, schema_version=2)])
    assert [entry.schema_version for entry in await history(store, A)] == [2, 1]
    assert [entry.schema_version for entry in await history(store, B)] == [3]


async def test_a_moved_object_keeps_its_time_and_its_timers(store):
    """A change to another schema version is one of its own: version, data and event; in no batch does it touch its neighbours."""
    start = (TimerStart("cancel", timedelta(hours=1)),)
    first, other = await store.write([write(A, 0, status="pending", timers=start), write(B, 0, status="pending", timers=start)])
    moved, changed = await store.write([
        write(A, 1, b'{"v": 2}', change=Change.MIGRATED, schema_version=2, actor="service:state"),
        write(B, 1, b"[2]", change=Change.TRANSITIONED, event="pay", from_status="pending", status="paid"),
    ])  # fmt: skip
    assert (moved.version, moved.updated_at, moved.timers, moved.status) == (2, first.updated_at, first.timers, "pending")
    assert (changed.version, changed.timers, changed.updated_at >= other.updated_at) == (2, (), True)
    state = (await store.read([A]))[A]
    assert (state.schema_version, state.updated_at, state.timers) == (2, first.updated_at, first.timers)
    newest, oldest = await history(store, A)
    assert (newest.change, newest.actor, newest.to_status, json.loads(newest.data)) == (
        Change.MIGRATED, "service:state", "pending", {"v": 2},
    )  # fmt: skip
    assert newest.time >= oldest.time == first.updated_at
    assert await store.write([write(A, 1, change=Change.MIGRATED, schema_version=2)]) == [Refused(2)]


async def test_a_scan_goes_through_all_tenants(store):
    """Keys in the order of tenants and keys, of one namespace, a part at a time; deleted ones are counted and not shown."""
    keys = [StateKey(tenant, "orders", key) for tenant in ("default", "other") for key in "abcd"]
    await store.write([write(key, 0, schema_version=2 if key.key == "b" else 1) for key in keys])
    await store.write([write(StateKey("default", "notes", "z"), 0), deletion(keys[2])])
    found, looked, place = [], 0, None
    while True:
        scan = await store.scan("orders", place, 3)
        found += scan.versions
        looked, place = looked + scan.looked, scan.place
        assert scan.looked <= 3
        if place is None:
            break
    assert looked == 8
    assert found == [(key, 2 if key.key == "b" else 1) for key in keys if key != keys[2]]
    assert (await store.scan("none", None, 3)).looked == 0


async def test_the_time_of_the_last_change_is_compared_too(store):
    """The version that a write was decided on may be another of the same number: then it is refused. Its neighbours are not."""
    made = write(A, 0, b"[1]", status="pending"), write(B, 0, b"[1]", status="pending")
    await store.write(made)
    states = await store.read([A, B])
    other = replace(states[A], updated_at=states[A].updated_at - timedelta(microseconds=1))
    pay = {"change": Change.TRANSITIONED, "event": "pay", "from_status": "pending", "status": "paid", "keeps_data": True}
    refused, written = await store.write([write(A, 1, b"[1]", seen=other, **pay), write(B, 1, b"[1]", seen=states[B], **pay)])
    assert refused == Refused(1)
    assert (written.version, written.status, written.data, written.owner) == (2, "paid", b"[1]", "ada")
    assert (written.created_at, written.first_version) == (states[B].created_at, 1)
    (again,) = await store.write([write(A, 1, b"[2]", seen=states[A])])
    assert (again.version, again.status, again.data) == (2, "pending", b"[2]")
    (gone,) = await store.write([deletion(A, 2, seen=(await store.read([A]))[A])])
    assert (gone.version, gone.status) == (3, "pending")
