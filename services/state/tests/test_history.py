"""History by version, time, actor and change, over memory and real PostgreSQL, and what is asked for in contradictions."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64
from stylobate.database import DatabaseManager
from stylobate.errors import InvalidInputError
from stylobate.idempotency.mongodb import MongoIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate_state.history_reader import HistoryRequest
from stylobate_state.model import Change, HistoryQuery, StateKey
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.store import postgres_history
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.mongodb import MongoStateStore
from stylobate_state.store.mongodb.documents import id_of
from stylobate_state.store.mongodb.events import at, mark, type_of
from stylobate_state.store.postgres import PostgresStateStore

from .conftest import MIGRATION_SETS
from .samples import ADA, BOB, HANDLER, deletion, write

A = StateKey("default", "orders", "a")
ALL = 100


async def versions(store, **query):
    """Return the versions that the query finds."""
    return [entry.version for entry in (await store.list_history(HistoryQuery(A, **{"limit": ALL} | query))).items]


async def fill(store):
    """Let Ada, Bob and a root do six things, and a neighbour the same; return the times."""
    done = [
        write(A, 0, status="pending", actor="ada"),
        write(A, 1, actor="bob"),
        write(A, 2, change=Change.TRANSITIONED, status="paid", event="pay", from_status="pending", actor="ada"),
        write(A, 3, actor="bob"),
        deletion(A, 4, actor="root"),
        write(A, 0, actor="ada"),
    ]
    times = []
    for one in done:
        times.append((await store.write([one]))[0].updated_at)
        if isinstance(store, MemoryStateStore):
            store.clock.advance(timedelta(seconds=1))
        await store.write([write(A._replace(key="b"), one.expected or 0, actor=one.actor)])
    return times


async def test_a_history_is_asked_for_an_actor_and_a_change(store):
    """Each alone and both together, within bounds of versions, newest first and cut at the limit; a neighbour's is not in it."""
    await fill(store)
    assert await versions(store, actor="ada") == [6, 3, 1]
    assert await versions(store, actor="bob", limit=1) == [4]
    assert await versions(store, actor="bob", before=4) == [2]
    assert await versions(store, actor="nobody") == []
    assert await versions(store, change=Change.UPDATED) == [4, 2]
    assert await versions(store, change=Change.CREATED, since=2) == [6]
    assert await versions(store, change=Change.CREATED, actor="ada", before=6) == [1]
    assert await versions(store, change=Change.DELETED, actor="ada") == []


async def test_the_version_before_a_time(store):
    """The newest that was made earlier: none before the first, the last after the last, each just behind its own time."""
    times = await fill(store)
    just = timedelta(microseconds=1)
    assert await store.version_before(A, times[0]) == 0
    assert [await store.version_before(A, time + just) for time in times] == [1, 2, 3, 4, 5, 6]
    assert [await store.version_before(A, time) for time in times] == [0, 1, 2, 3, 4, 5]
    assert await store.version_before(A._replace(key="never"), datetime(2100, 1, 1, tzinfo=UTC)) == 0


async def test_a_long_history_is_answered_by_indexes(database_for):
    """Of 10,000 versions a statement reads what it returns and the pages on the way to it, whatever is asked."""
    database = await database_for("state", *MIGRATION_SETS)
    store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
    await _long(database, store)
    middle = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=5000)
    assert await versions(store, actor="rare") == [2500]
    assert await versions(store, change=Change.TRANSITIONED, limit=2) == [7500]
    assert await versions(store, change=Change.TRANSITIONED, actor="rare") == []
    assert await store.version_before(A, middle) == 4999
    types = [f"state.orders.{change}" for change in Change]
    asked = (*A, 1, None, 50, 1_000_000)
    for statement, arguments in (
        (postgres_history._OF_ACTOR, (*asked, types, "rare")),
        (postgres_history._OF_TYPE, (*asked, "state.orders.transitioned")),
        (postgres_history._BEFORE, (*A, middle)),
        (postgres_history._OWNER_BEFORE, (*A, 9999, ["state.orders.created", "state.orders.assigned"])),
    ):
        found = await database.fetchval(f"explain (analyze, buffers, format json) {statement}", *arguments)
        plan = json.loads(found)[0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100, found


async def test_a_long_history_is_found_by_marks(mongo_for):
    """On MongoDB: of 2,000 versions a question looks at what it returns, whatever is asked."""
    database = await mongo_for("state", *MIGRATION_SETS)
    store = MongoStateStore(database, MongoIdempotencyLedger(database))
    await store.write([write(A, 0)])
    for turn in range(1, 2000, 200):
        for version in range(turn, turn + 3):
            await store.write([write(A, version, actor="rare" if version == 802 else "ada")])
        if turn < 1800:
            await _skip(database, turn + 3, turn + 200)
    assert await versions(store, actor="rare") == [803]
    assert await versions(store, change=Change.CREATED) == [1]
    assert await versions(store, change=Change.TRANSITIONED) == []
    asked = at(A) | {"marks.actor": {"$in": [mark(A, type_of("orders", change), "rare") for change in Change]}, "actor": "rare"}
    plan = await database.command(
        {"explain": {"find": "outbox_event", "filter": asked, "sort": {"version": -1}}, "verbosity": "executionStats"}
    )
    assert plan["executionStats"]["totalDocsExamined"] == 1
    assert plan["executionStats"]["totalKeysExamined"] < 20


async def _skip(database, version, to):
    """Let an object be at a later version, with events between that say nothing."""
    (last,) = await database.find("outbox_event", {"version": version})
    events = [last | {"_id": f"{number}", "version": Int64(number)} for number in range(version + 1, to + 1)]
    await database.insert("outbox_event", events)
    await database.update_one("state", {"_id": id_of(A)}, {"$set": {"version": Int64(to)}})


async def _long(database: DatabaseManager, store: PostgresStateStore) -> None:
    await store.write([write(A, 0)])
    await database.execute("delete from outbox_event")
    await database.execute(
        """
        insert into outbox_event (id, tenant, partition, stream, subject, version, type, source, time, actor, data)
        select gen_random_uuid(), 'default', 0, 'orders', 'a', n,
            'state.orders.' || case n when 1 then 'created' when 7500 then 'transitioned' else 'updated' end, 'state',
            timestamptz '2026-01-01T00:00:00Z' + make_interval(secs => n), case n when 2500 then 'rare' else 'ada' end,
            jsonb_build_object('status', '', 'data', n)
        from generate_series(1, 10000) n
        """
    )
    await database.execute("analyze outbox_event")


async def test_bounds_meet_in_one_question(manager, clock, grants):
    """Times are bounds of versions; all that is said holds together, and pages go on within it."""
    begun = clock()
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=0)
    for total in range(2, 6):
        clock.advance(timedelta(seconds=10))
        await manager.change(HANDLER, "orders", "1", Patch(f'{{"total": {total}}}'.encode()), expected=None)
    clock.advance(timedelta(seconds=10))
    await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)

    def at(seconds):
        return (begun + timedelta(seconds=seconds)).isoformat()

    async def found(**asked):
        return [entry.version for entry in (await manager.list_history(ADA, "orders", "1", HistoryRequest(**asked))).items]

    assert await found(since=at(10), until=at(30)) == [3, 2]
    assert await found(since=at(11)) == [6, 5, 4, 3]
    assert await found(until=begun.isoformat()) == []
    assert await found(after_version=2, before_version=5) == [4, 3]
    assert await found(after_version=2, until=at(41), actor=ADA.subject, change="updated") == [5, 4, 3]
    assert await found(actor=BOB.subject) == []
    assert await found(after_version=2**63 - 1) == []

    asked = {"after_version": 1, "change": "updated", "size": 3}
    first = await manager.list_history(ADA, "orders", "1", HistoryRequest(**asked))
    second = await manager.list_history(ADA, "orders", "1", HistoryRequest(**asked, token=first.next_token))
    assert [[entry.version for entry in page.items] for page in (first, second)] == [[5, 4, 3], [2]]
    assert second.next_token == ""
    with pytest.raises(InvalidInputError) as refused:
        await manager.list_history(ADA, "orders", "1", HistoryRequest(size=3, token=first.next_token))
    assert refused.value.violations[0].pointer == "/page_token"


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"after_version": -1}, "/after_version"),
        ({"before_version": -1}, "/before_version"),
        ({"after_version": 3, "before_version": 4}, "/before_version"),
        ({"after_version": 4, "before_version": 2}, "/before_version"),
        ({"since": "yesterday"}, "/since"),
        ({"since": "2026-01-01T00:00:00"}, "/since"),
        ({"until": "2026-02-30T00:00:00Z"}, "/until"),
        ({"since": "2026-01-01T01:00:00+01:00", "until": "2026-01-01T00:00:00Z"}, "/until"),
        ({"change": "moved"}, "/change"),
        ({"size": -1}, "/page_size"),
    ],
)
async def test_what_contradicts_itself_is_refused_at_its_place(manager, grants, asked, place):
    """Nothing is guessed; but first it is decided whether the caller may know that the object is there."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=0)
    with pytest.raises(InvalidInputError) as refused:
        await manager.list_history(ADA, "orders", "1", HistoryRequest(**asked))
    assert [violation.pointer for violation in refused.value.violations] == [place]


async def test_filters_show_nothing_of_a_former_owner(manager, clock, grants):
    """A key that was another's before: who may read it as its owner finds nothing of that by any filter."""
    grants.by_subject["root"] = {"orders:admin"}
    begun = clock().isoformat()
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=0)
    await manager.change(ADA.with_via("actions"), "orders", "1", Put(b'{"total": 2}'), expected=1)
    grants.by_subject["ada"] = {"orders:admin"}
    await manager.change(ADA, "orders", "1", Delete(), expected=None)
    clock.advance(timedelta(seconds=10))
    await manager.change(BOB.with_via("actions"), "orders", "1", Put(b'{"total": 3}'), expected=0)
    for asked in ({}, {"before_version": 9}, {"since": begun}, {"change": "created"}, {"after_version": 1}):
        page = await manager.list_history(BOB, "orders", "1", HistoryRequest(**asked))
        assert [entry.version for entry in page.items] == [4], asked
    assert not (await manager.list_history(BOB, "orders", "1", HistoryRequest(actor=ADA.subject))).items
