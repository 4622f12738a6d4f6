"""Unique values that go from one object to another within a transaction: against a model, on every store, and under rivals."""

import asyncio
import json
import random
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stylobate.database import DatabaseManager
from stylobate.declarations.model import IndexField
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.testing.until import until
from stylobate_state.index import Index
from stylobate_state.model import Change, IndexQuery, NotUnique, StateKey, Withheld, Written
from stylobate_state.store.postgres import PostgresStateStore

from .conftest import MIGRATION_SETS
from .samples import deletion, write
from .test_index_contract import ALL, EMAIL, OPEN, found, moved, order

SEAT = Index("orders", (IndexField("seat", "text"), IndexField("email", "text")), is_unique=True, statuses=("new",))
KEYS, VALUES = "abcd", ["x", "y", "z"]
_TENANTS = count()
_STEP = st.tuples(st.sampled_from(["put", "move", "delete"]), st.sampled_from(VALUES), st.sampled_from(["1", "2"]))
_GROUPS = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), _STEP), min_size=1, max_size=4, unique_by=lambda one: one[0]), max_size=8
)


def written(key, step, seen, group, tenant):
    """Return the write of a step on what the model has, and what the object is then; None: there is none."""
    what, email, seat = step
    at, version, present = StateKey(tenant, "orders", key), *seen.get(key, (0, None))
    data, document = {"email": email, "seat": seat}, json.dumps({"email": email, "seat": seat}).encode()
    if present is None:
        return write(at, 0, document, group=group), (version + 1, ("new", data))
    if what == "delete":
        return deletion(at, version, group=group), (version + 1, None)
    if what == "put":
        return write(at, version, document, status=None, group=group), (version + 1, (present[0], data))
    left = {"new": "old", "old": "new"}[present[0]]
    event = {"change": Change.TRANSITIONED, "event": "e", "from_status": present[0], "status": left}
    return write(at, version, document, group=group, **event), (version + 1, (left, data))


def is_unique(objects):
    """Return whether no two have what only one may have."""
    alive = [present for _, present in objects.values() if present is not None]
    emails = [data["email"] for _, data in alive]
    seats = [(data["seat"], data["email"]) for status, data in alive if status == "new"]
    return len(emails) == len(set(emails)) and len(seats) == len(set(seats))


@given(groups=_GROUPS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_transactions_do_what_the_model_does(store, groups):
    """A transaction is written where no two objects are equal after it, whatever was before it; else refused whole, by name.

    Swaps, circles, what a deleted or moved object gives up: whoever is found by an index is who has the values.
    """
    tenant = f"t{next(_TENANTS)}"
    await store.declare([EMAIL, SEAT])
    model = {}
    for number, group in enumerate(groups):
        steps = [written(key, step, model, number % 3 + 1, tenant) for key, step in group]
        after = model | {key: then for (key, _), (_, then) in zip(group, steps, strict=True)}
        outcomes = await store.write([one for one, _ in steps])
        if is_unique(after):
            assert all(isinstance(outcome, Written) for outcome in outcomes), outcomes
            model = after
        else:
            assert {type(outcome) for outcome in outcomes} <= {NotUnique, Withheld}
            (first, *_) = [outcome for outcome in outcomes if isinstance(outcome, NotUnique)]
            assert first.holder.key in {*KEYS}
        alive = {key: present for key, (_, present) in model.items() if present is not None}
        by_email = sorted(alive, key=lambda key: alive[key][1]["email"])
        assert await found(store, EMAIL, tenant=tenant) == by_email
        seated = {key: (data["seat"], data["email"]) for key, (status, data) in alive.items() if status == "new"}
        assert await found(store, SEAT, tenant=tenant) == sorted(seated, key=lambda key: seated[key])


async def test_a_batch_decides_on_a_value_that_changes_hands(store):
    """Beside a transaction that hands a value over, others who want it are refused, before it and after it in the batch."""
    await store.declare([EMAIL])
    await store.write([order("a", email="x"), order("b", email="y")])
    swap = [write(key_of(name), 1, json.dumps({"email": email}).encode(), group=1) for name, email in (("a", "y"), ("b", "x"))]
    batch = [order("c", email="x"), *swap, order("d", email="y")]
    outcomes = await store.write(batch)
    assert [type(outcome) for outcome in outcomes] == [NotUnique, Written, Written, NotUnique]
    assert await found(store, EMAIL) == ["b", "a"]
    stays = [write(one.key, 2, data, group=2) for one, data in zip(swap, (b'{"email": "y"}', b'{"email": "y"}'), strict=True)]
    refused = await store.write(stays)
    assert refused[1] == NotUnique(EMAIL, swap[0].key)
    assert await found(store, EMAIL) == ["b", "a"]


async def test_rivals_hand_values_on(open_store):
    """Processes pass on values of the same objects, without naming versions: each value is had once, nothing is left over."""
    stores = [await open_store() for _ in range(3)]
    await stores[0].declare([EMAIL])
    names = [f"{n}" for n in range(6)]
    await stores[0].write([order(name, email=name) for name in names])
    for store in stores:
        await store.indexes()

    async def rival(number):
        chance, store = random.Random(number), stores[number % 3]
        for turn in range(10):
            chosen = chance.sample(names, 3)
            values = {state.key.key: json.loads(state.data)["email"] for state in (await _states(store, chosen)).values()}
            passed = [values.get(name, name) for name in chosen[1:] + chosen[:1]]
            group = [
                write(key_of(name), None if name in values else 0, json.dumps({"email": email}).encode(), group=1)
                for name, email in zip(chosen, passed, strict=True)
            ]
            if turn % 5 == 4 and chosen[0] in values:
                group[0] = deletion(key_of(chosen[0]), group=1)
            await store.write(group)

    async with asyncio.timeout(60):
        await asyncio.gather(*map(rival, range(6)))
    left = {state.key.key: json.loads(state.data)["email"] for state in (await _states(stores[0], names)).values()}
    assert len(set(left.values())) == len(left)
    assert await found(stores[0], EMAIL) == sorted(left, key=lambda name: left[name])


async def test_who_waited_for_an_object_takes_it_out_of_indexes_all_the_same(databases):
    """A deletion that waits for a change which enters the object into an index leaves no entry of it."""
    async with databases.fresh("state", *MIGRATION_SETS) as url, DatabaseManager.open(url, service="state") as database:
        store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
        await store.declare([OPEN])
        await store.write([order("a", status="draft", total=1)])
        async with database.transaction() as connection:
            await store.write_in(connection, [moved("a", 1, "paid", b'{"total": 1}')])
            deleting = asyncio.create_task(store.write([deletion(key_of("a"))]))
            await until(lambda: database.fetchval("select exists (select from pg_locks where not granted)"))
        assert isinstance((await deleting)[0], Written)
        assert await database.fetchval("select count(*) from state_entry") == 0
        assert (await store.query(IndexQuery("default", OPEN, ALL, 10))).items == []


def key_of(name):
    """Return the name of an order."""
    return StateKey("default", "orders", name)


async def _states(store, names):
    found = await store.read([key_of(name) for name in names])
    return {key: state for key, state in found.items() if not state.is_deleted}
