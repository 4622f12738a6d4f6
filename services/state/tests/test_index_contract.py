"""What every store must do with indexes, over memory and real PostgreSQL."""

import asyncio
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from stylobate.declarations.model import IndexField
from stylobate_state.index import Index
from stylobate_state.index_encoding import BEYOND, encode, successor
from stylobate_state.model import ByteRange, Change, IndexQuery, ListQuery, NotUnique, Refused, StateKey, TooLong, Written

from .samples import deletion, write

TOTAL = Index("orders", (IndexField("total", "number"),))
EMAIL = Index("orders", (IndexField("email", "text"),), is_unique=True)
SLOT = Index("orders", (IndexField("doctor", "text"), IndexField("at", "time")), is_unique=True)
OPEN = Index("orders", (IndexField("total", "number"),), statuses=("paid", "pending"))
BY_STATUS = Index("orders", (IndexField("status", "text"), IndexField("created_at", "time"), IndexField("total", "number")))
OWNED = Index("orders", (IndexField("total", "number"),), by_owner=True)
ALL = (ByteRange(b"", BEYOND, 0),)


def at(key, tenant="default"):
    """Return the name of an order."""
    return StateKey(tenant, "orders", key)


def order(key, expected=0, tenant="default", status="pending", owner="ada", **data):
    """Return a write of an order."""
    status = status if expected == 0 else None
    return write(at(key, tenant), expected, json.dumps(data).encode(), status=status, owner=owner)


def moved(key, expected, status, data=b"{}"):
    """Return a write that fires an event."""
    return write(at(key), expected, data, change=Change.TRANSITIONED, status=status, event="e", from_status="pending")


async def found(store, index, ranges=ALL, *, tenant="default", limit=100, **query):
    """Return the keys that the query finds; None where the index is not ready."""
    part = await store.query(IndexQuery(tenant, index, ranges, limit, **query))
    return None if part is None else [item.state.key.key for item in part.items]


async def test_objects_are_found_in_the_order_of_an_index(store):
    """By value, then by key; what lacks the field comes first; other tenants and namespaces are not in it."""
    await store.declare([TOTAL])
    await store.write([order("b", total=10), order("a", total=10), order("c", total=-3), order("d", total=2.5), order("e")])
    await store.write([order("z", tenant="other", total=1), write(StateKey("default", "notes", "n"), 0, b'{"total": 1}')])
    assert await found(store, TOTAL) == ["e", "c", "d", "a", "b"]
    assert await found(store, TOTAL, is_descending=True) == ["b", "a", "d", "c", "e"]
    assert await found(store, TOTAL, tenant="other") == ["z"]
    span = (ByteRange(encode(Decimal(2)), BEYOND, 0),)
    assert await found(store, TOTAL, span) == ["d", "a", "b"]


async def test_pages_go_on_behind_the_last_object(store):
    """A page tells where the next one begins, up and down, also among equal values and over several ranges."""
    await store.declare([BY_STATUS])
    await store.write([order(f"{n}", status=("pending", "paid", "new")[n % 3], total=n % 2) for n in range(12)])
    for status in ("pending", "paid"):
        assert len(await found(store, BY_STATUS, (_prefix(status),))) == 4
    ranges = (_prefix("paid"), _prefix("pending"))
    for is_descending in (False, True):
        whole = await found(store, BY_STATUS, ranges, is_descending=is_descending)
        assert len(whole) == 8
        seen, after = [], None
        for _ in range(8):
            query = IndexQuery("default", BY_STATUS, ranges, 1, is_descending=is_descending, after=after)
            part = await store.query(query)
            seen += [item.state.key.key for item in part.items]
            after = (part.items[-1].place, part.items[-1].state.key.key)
            assert part.has_more == (len(seen) < 8)
        assert seen == whole


def _prefix(status):
    start = encode(status)
    return ByteRange(start, successor(start), len(start))


async def test_an_index_follows_every_change(store):
    """Updates, transitions, deletions and new creations are in it at once; a status of the moment counts, not the one seen."""
    await store.declare([TOTAL, OPEN, BY_STATUS])
    await store.write([order("a", total=1), order("b", total=2)])
    assert await found(store, OPEN) == ["a", "b"]
    await store.write([moved("a", 1, "shipped", b'{"total": 1}'), order("b", None, total=0)])
    assert await found(store, OPEN) == ["b"]
    assert await found(store, TOTAL) == ["b", "a"]
    await store.write([order("a", None, total=-1)])  # of no version: what stands there is shipped
    assert await found(store, OPEN) == ["b"]
    assert await found(store, BY_STATUS, (_prefix("shipped"),)) == ["a"]
    await store.write([deletion(at("a"))])
    assert await found(store, TOTAL) == ["b"]
    await store.write([order("a", total=9)])
    assert await found(store, TOTAL) == ["b", "a"]
    assert await store.write([order("a", 1, total=-5)]) == [Refused(5)]
    assert await found(store, TOTAL) == ["b", "a"]


async def test_times_of_the_store_are_sorted_by(store):
    """``created_at`` and ``updated_at`` in an index are those that the object shows, to the microsecond."""
    by_created = Index("orders", (IndexField("created_at", "time"),))
    by_updated = Index("orders", (IndexField("updated_at", "time"),))
    await store.declare([by_created, by_updated])
    written = [(await store.write([order(key, total=1)]))[0] for key in "cab"]
    (again,) = await store.write([order("c", 1, total=2)])
    for index, times in ((by_created, written[0].created_at), (by_updated, again.updated_at)):
        start = encode(times)
        assert "c" in await found(store, index, (ByteRange(start, successor(start), 0),))


async def test_unique_values_are_taken_once(store):
    """The refusal names index and holder, of those in one batch too; who lacks a field, or another tenant, is equal to nobody."""
    await store.declare([EMAIL, SLOT])
    first = await store.write([order("a", email="x@y"), order("b"), order("c"), order("d", tenant="other", email="x@y")])
    assert all(isinstance(outcome, Written) for outcome in first)
    assert await store.write([order("e", email="x@y")]) == [NotUnique(EMAIL, at("a"))]
    assert await store.write([order("b", 1, email="x@y")]) == [NotUnique(EMAIL, at("a"))]
    assert (await store.read([at("e")])) == {}
    assert await found(store, EMAIL, limit=10) == ["b", "c", "a"]
    one, two, three = await store.write([order(key, email="new") for key in "fgh"])
    assert isinstance(one, Written)
    assert (two, three) == (NotUnique(EMAIL, at("f")), NotUnique(EMAIL, at("f")))
    slot = {"doctor": "d", "at": "2030-01-01T10:00:00Z"}
    same = {"doctor": "d", "at": "2030-01-01T11:00:00+01:00"}
    assert isinstance((await store.write([order("i", **slot)]))[0], Written)
    assert await store.write([order("j", **same)]) == [NotUnique(SLOT, at("i"))]


async def test_what_is_refused_for_its_version_takes_no_value(store):
    """A write whose expectation does not hold is told that, and another one in its batch has the value that it wanted."""
    await store.declare([EMAIL])
    await store.write([order("a", email="old")])
    stale, other = await store.write([order("a", 7, email="x"), order("b", email="x")])
    assert (stale, other.version) == (Refused(1), 1)
    assert await store.write([order("b", 9, email="old")]) == [Refused(1)]


async def test_a_value_that_is_given_up_is_free(store):
    """By deletion, by another value, and by one's own write again."""
    await store.declare([EMAIL])
    await store.write([order("a", email="x")])
    assert isinstance((await store.write([order("a", 1, email="x", note=1)]))[0], Written)
    await store.write([deletion(at("a"))])
    assert isinstance((await store.write([order("b", email="x")]))[0], Written)
    await store.write([order("b", 1, email="y")])
    assert isinstance((await store.write([order("a", email="x")]))[0], Written)


async def test_of_many_writers_one_has_the_value(open_store):
    """Two processes, as many writers: one is written, all others are told who it is."""
    stores = [await open_store(), await open_store()]
    for store in stores:
        await store.declare([EMAIL])
    names = [f"{n:02d}" for n in range(40)]
    results = await asyncio.gather(
        *(stores[n % 2].write([order(name, email="x"), order(f"free-{name}", email=name)]) for n, name in enumerate(names))
    )
    winners = [name for name, (outcome, _) in zip(names, results, strict=True) if isinstance(outcome, Written)]
    assert len(winners) == 1
    others = [outcome for outcome, _ in results if not isinstance(outcome, Written)]
    assert others == [NotUnique(EMAIL, at(winners[0]))] * 39
    assert all(isinstance(free, Written) for _, free in results)


async def test_owners_find_their_own(store):
    """A list of one's own objects uses the index, and counts nothing of others."""
    await store.declare([OWNED])
    await store.write([order(f"{n}", owner=("ada", "bob")[n % 2], total=-n) for n in range(6)])
    assert await found(store, OWNED, owner="bob") == ["5", "3", "1"]
    assert await found(store, OWNED, owner="bob", is_descending=True, limit=2) == ["1", "3"]
    assert await store.count(IndexQuery("default", OWNED, ALL, 100, owner="bob")) == 3
    assert await store.count(IndexQuery("default", OWNED, ALL, 100)) == 6
    assert await store.count(IndexQuery("default", OWNED, ALL, 4)) == 4
    assert await store.count(ListQuery("default", "orders", 100, owner="ada")) == 3
    assert await store.count(ListQuery("default", "orders", 2)) == 2


async def test_what_is_too_long_is_refused(store):
    """A value that does not fit into an index is refused with the index, and nothing is written."""
    await store.declare([EMAIL])
    assert await store.write([order("a", email="x" * 1001)]) == [TooLong(EMAIL)]
    assert isinstance((await store.write([order("a", email="ü" * 490)]))[0], Written)


async def test_an_index_of_a_full_namespace_is_built(store):
    """Not ready until every object is in; what changes meanwhile is in it as it stands then."""
    await store.write([order(f"{n}", total=n) for n in range(9)] + [order("z", tenant="other", total=0)])
    await store.write([deletion(at("8"))])
    await store.declare([TOTAL])
    assert await found(store, TOTAL) is None
    assert await store.count(IndexQuery("default", TOTAL, ALL, 10)) is None
    assert await store.build(2)
    assert await store.build(2)
    (standing,) = await store.indexes()
    assert not standing.is_ready
    assert 0 < standing.entered < 9
    await store.write([order("0", 1, total=100), order("7", 1, total=-1), deletion(at("6")), order("new", total=50)])
    while await store.build(2):
        assert await found(store, TOTAL) is None
    assert await found(store, TOTAL) == ["7", "1", "2", "3", "4", "5", "new", "0"]
    assert await found(store, TOTAL, tenant="other") == ["z"]


async def test_duplicates_are_named_and_keep_an_index_from_being_ready(store):
    """Both objects are named; they can be written as before; when one has changed the index becomes ready and holds."""
    await store.write([order("a", email="x"), order("b", email="x"), order("c", email="y")])
    await store.declare([EMAIL])
    await built(store)
    (standing,) = await store.indexes()
    assert not standing.is_ready
    assert standing.problem == "orders/b and orders/a are equal in email, which is unique"
    assert await found(store, EMAIL) is None
    (outcome,) = await store.write([order("b", 1, email="x", note="still")])
    assert isinstance(outcome, Written)
    assert isinstance((await store.write([order("d", email="y")]))[0], Written)
    await store.write([deletion(at("a")), order("d", 1, email="z")])
    await built(store)
    assert (await store.indexes())[0].is_ready
    assert await found(store, EMAIL) == ["b", "c", "d"]
    assert await store.write([order("e", email="x")]) == [NotUnique(EMAIL, at("b"))]


async def built(store):
    """Build whatever can be built."""
    while await store.build(100):
        pass


async def test_a_writer_that_does_not_know_an_index_keeps_it_all_the_same(open_store):
    """A process that began before another one declared an index enters into it what it writes, and is held to it."""
    old, new = await open_store(), await open_store()
    await old.write([order("a", email="x", total=1)])
    await new.declare([TOTAL, EMAIL])
    assert isinstance((await old.write([order("b", email="y", total=0)]))[0], Written)
    await built(new)
    assert await found(new, TOTAL) == await found(old, TOTAL) == ["b", "a"]
    assert await old.write([order("c", email="x")]) == [NotUnique(EMAIL, at("a"))]


@pytest.mark.parametrize("count", [0, 3])
async def test_an_index_may_be_declared_again(store, count):
    """Saying it again changes nothing of it."""
    if count:
        await store.write([order(f"{n}", total=n) for n in range(count)])
    await store.declare([TOTAL])
    await built(store)
    await store.declare([TOTAL, replace(TOTAL, is_unique=True)])
    assert len(await found(store, TOTAL)) == count


async def test_moving_to_another_schema_version_keeps_indexes(store):
    """What the new data has is found, what it lost is not; values that are taken are refused; times sort as before."""
    by_time = Index("orders", (IndexField("updated_at", "time"),))
    await store.declare([TOTAL, EMAIL, by_time])
    await store.write([order("a", email="a@x"), order("b", total=1), order("c")])
    migrated = {"change": Change.MIGRATED, "schema_version": 2}
    before = await found(store, by_time)
    outcomes = await store.write([
        write(at("a"), 1, b'{"total": 5}', **migrated),
        write(at("b"), 1, b'{"email": "b@x"}', **migrated),
        write(at("c"), 1, b'{"email": "a@x"}', **migrated),
    ])  # fmt: skip
    assert [type(outcome) for outcome in outcomes] in ([Written] * 3, [Written, Written, NotUnique])
    assert (await found(store, TOTAL))[-1] == "a"
    assert await found(store, by_time) == before
    (refused,) = await store.write([order("d", email="b@x")])
    assert refused == NotUnique(EMAIL, at("b"))
