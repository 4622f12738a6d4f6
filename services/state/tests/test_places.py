"""Which namespace stands in which database: settings held against what two databases say."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from stylobate.config import ConfigError, Sources
from stylobate.database import DatabaseManager
from stylobate.database.mongodb import MongoManager
from stylobate.declarations.model import IndexField
from stylobate.outbox import EventPattern, PositionExpiredError
from stylobate_state.errors import StateApartError, StateMovedError, StateMoveRefusedError
from stylobate_state.index import Index
from stylobate_state.model import StateKey, TimerStart, Written
from stylobate_state.operation import Put
from stylobate_state.places import check_main, placed, settle
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.mongodb import MongoCarrier
from stylobate_state.store.moving import Carrier
from stylobate_state.store.no_carrier import NoCarrier
from stylobate_state.store.placed_log import PlacedLog
from stylobate_state.store.postgres_carrier import PostgresCarrier
from stylobate_state.store.router import StoreRouter

from .conftest import MIGRATION_SETS, SERVERS, Kept, kept
from .samples import ADA, HANDLER, NOTES, ORDERS, deletion, write

PAPERS = replace(NOTES, name="papers")


def key(name: str, namespace: str = "orders") -> StateKey:
    """Name an object."""
    return StateKey("default", namespace, name)


class Side(Kept):
    """One of two databases."""

    async def write(self, *writes) -> list[object]:
        """Write, and give what was written its places in the log."""
        outcomes = await self.store.write(writes)
        await self.numbering.claim(1)
        await self.numbering.number(1)
        return list(outcomes)

    async def objects(self) -> list[object]:
        """Return the orders as they are stored, each with what is queued of it."""
        if isinstance(self.database, DatabaseManager):
            return list(await self.database.fetch(ROWS))
        of_orders = {"_id.namespace": "orders"}
        found = await self.database.find("state", of_orders, {"known": 0, "built": 0}, sort=[("_id", 1)])
        return [found, await self.database.find("state_timer", of_orders, sort=[("_id", 1)])]

    async def told(self) -> list[object]:
        """Return the events of orders as they are stored, but for their places in the log."""
        events = [one for one in await self.events() if one["stream"] == "orders"]
        return [{name: value for name, value in one.items() if name != "number"} for one in events]

    async def in_log(self) -> list[tuple[str, int]]:
        """Return the subjects and versions of the orders' events in the order of the log."""
        events = [one for one in await self.events() if one["stream"] == "orders"]
        events.sort(key=lambda one: (one["partition"], one["number"]))
        return [(one["subject"], one["version"]) for one in events]


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ({"a": "x"}, "a: users that Vault makes are for PostgreSQL"),
        ({"c": "x"}, r"names no c \(known: a, b\)"),
        ({"b": "../x"}, "b: '../x' is not a role"),
    ],
)
def test_roles_of_vault_are_for_databases_that_are_named(roles: dict[str, str], said: str) -> None:
    """A role that is for nothing, or for what Vault makes no users in, is refused at the start."""
    with pytest.raises(ValueError, match=said):
        StateSettings(databases={"a": "mongodb://h/d", "b": "postgresql://h/d"}, vault_database_roles=roles)


@pytest.fixture(params=SERVERS)
def two_databases(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[tuple[Any, Any]]:
    """Give two databases of each kind of server in turn."""
    postgres = request.param == "postgres"
    databases = request.getfixturevalue("databases" if postgres else "mongo_databases")
    manager: Any = DatabaseManager if postgres else MongoManager

    @asynccontextmanager
    async def opened() -> AsyncIterator[tuple[Any, Any]]:
        async with (
            databases.fresh("state", *MIGRATION_SETS) as one,
            databases.fresh("state", *MIGRATION_SETS) as two,
            manager.open(one, service="state") as first,
            manager.open(two, service="state") as second,
        ):
            yield first, second

    return opened()


@pytest_asyncio.fixture
async def sides(two_databases: AbstractAsyncContextManager[tuple[Any, Any]]) -> AsyncIterator[tuple[Side, Side]]:
    """Give the main database and a further one."""
    async with two_databases as (first, second):
        yield _side(first), _side(second)


def _side(database: Any) -> Side:
    return Side(**vars(kept(database)))


def carrier_of(main: Side, apart: Side) -> Carrier:
    """Return what carries from one to the other."""
    made: Any = PostgresCarrier if isinstance(main.database, DatabaseManager) else MongoCarrier
    carrier: Carrier = made(main.database, apart.database, apart.store, "state", "archive")
    return carrier


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PLACES": "orders=archive"}, "STYLOBATE_STATE_PLACES: .*names no archive"),
        ({"PLACES": "orders"}, "STYLOBATE_STATE_PLACES: entry 1 is not written name=value"),
        ({"PLACES": "orders=a orders=b"}, "STYLOBATE_STATE_PLACES: orders comes twice"),
        ({"DATABASES": "main=postgresql://h/d"}, "STYLOBATE_STATE_DATABASES: .*'main' is not a name"),
        ({"DATABASES": "a=http://h/d"}, "STYLOBATE_STATE_DATABASES: .*must begin with postgresql"),
        ({"DATABASES": "a=postgresql://h/d", "PLACES": "nothing=a"}, "STYLOBATE_STATE_PLACES: nothing=a: no module declares"),
        ({"DATABASES": "a=postgresql://h/d", "PLACES": "pads=a"}, "STYLOBATE_STATE_PLACES: pads=a: pads is ephemeral"),
        ({"DATABASES": "a=postgresql://h/d", "PLACES": "orders=a"}, "orders=a: the projection sums is made of other namespaces"),
    ],
)
def test_what_cannot_be_is_refused_with_its_setting(environ: dict[str, str], said: str) -> None:
    """At the start, whatever is wrong: the form, a name that is not known, a namespace that stands in no database."""
    ephemeral = replace(NOTES, name="pads", ttl=timedelta(minutes=5))
    with pytest.raises(ConfigError, match=said):
        placed(
            StateSettings.load(Sources({f"STYLOBATE_STATE_{name}": text for name, text in environ.items()}, ())),
            {"orders": ORDERS, "pads": ephemeral},
            {"sums": ("orders", "pads")},
        )


async def test_a_new_namespace_begins_where_its_place_is(sides: tuple[Side, Side]) -> None:
    """It is written there and nowhere else, whatever setting a process has; begun again nothing changes."""
    main, apart = sides
    await settle("orders", "archive", main.places, apart.places)
    await settle("orders", "archive", main.places, apart.places)
    assert await main.places.elsewhere() == {"orders": "archive"}
    (outcome,) = await apart.write(write(key("1"), 0))
    assert isinstance(outcome, Written)
    with pytest.raises(StateMovedError, match="orders is being moved"):
        await main.store.write([write(key("1"), 0)])
    (other,) = await main.write(write(key("1", "notes"), 0))
    assert isinstance(other, Written)


async def test_nothing_is_lost_in_silence(sides: tuple[Side, Side]) -> None:
    """Objects that were not moved, a place that was left out, another database than before: each stops the start."""
    main, apart = sides
    await main.write(write(key("1", "notes"), 0))
    with pytest.raises(ConfigError, match="STYLOBATE_STATE_PLACES: notes=archive: its objects are in the main database"):
        await settle("notes", "archive", main.places, apart.places)
    (still,) = await main.write(write(key("2", "notes"), 0))
    assert isinstance(still, Written)
    await settle("orders", "archive", main.places, apart.places)
    await check_main(main.places, {"orders": "archive"}, {"orders", "notes"})
    with pytest.raises(ConfigError, match="STYLOBATE_STATE_PLACES: orders stands in the database archive, and is not named"):
        await check_main(main.places, {}, {"orders", "notes"})
    with pytest.raises(ConfigError, match="orders=other: orders stands in the database archive"):
        await settle("orders", "other", main.places, main.places)


async def test_the_log_of_a_namespace_is_its_part_of_the_log(sides: tuple[Side, Side]) -> None:
    """Its events and no others, from its opening on; a position of the log where it was before does not fit."""
    main, apart = sides
    log = apart.log
    await settle("notes", "archive", main.places, apart.places)
    await apart.write(*(write(key(str(number), "notes"), 0) for number in range(20)))
    await settle("orders", "archive", main.places, apart.places)
    await apart.write(*(write(key(str(number)), 0) for number in range(20)))
    orders = PlacedLog(log, "orders", apart.places)
    page = await orders.read(await orders.opening(), limit=1000)
    assert {logged.event.type for logged in page.events} == {"state.orders.created"}
    assert len(page.events) == 20
    assert [logged.number for logged in (await orders.read(await orders.oldest(), limit=1000)).events] == [
        logged.number for logged in page.events
    ]
    of_others = [EventPattern.parse("state.notes.*"), EventPattern.parse("state.*.deleted")]
    nothing = await orders.read(await orders.oldest(), types=of_others, limit=1000)
    assert (nothing.events, nothing.position) == ([], await log.head())
    with pytest.raises(PositionExpiredError):
        await orders.check(await main.log.head())


ROWS = """
    select to_jsonb(s)::text || coalesce(t.due_at::text, '') from state s left join state_timer t using (tenant, namespace, key)
    where namespace = 'orders' order by tenant, key
"""


async def test_what_is_carried_is_the_same_there(sides: tuple[Side, Side]) -> None:
    """Row by row: objects of two tenants, deleted ones, timers, a history of which the end has no number yet; however often."""
    main, apart = sides
    timers = (TimerStart("cancel", timedelta(hours=1)),)
    exact = b'{"total": 1.50, "big": 12345678901234567890.1234567890, "none": null}'
    await main.write(*(write(key(f"{number:02}"), 0, timers=timers) for number in range(45)))
    await main.write(write(StateKey("other", "orders", "1"), 0, exact), write(key("1", "notes"), 0))
    await main.write(write(key("03"), 1, b"[1.0, 1]"), deletion(key("04"), 1))
    await apart.places.take("notes")
    await apart.write(*(write(key(f"{number:02}", "notes"), 0) for number in range(20)))
    await main.store.write([write(key("03"), 2, b"[2]")])  # nobody has numbered it
    carrier = carrier_of(main, apart)
    await carrier.begin("orders")
    await check_main(main.places, {}, {"orders"})  # whoever starts meanwhile reads it here
    with pytest.raises(StateMovedError):
        await main.timers.fill("orders", "new", TimerStart("late", timedelta(hours=1)), 100)
    expected = [await main.objects(), await main.told()]
    place, counts = None, []
    while True:
        carried = await carrier.carry("orders", place, 20)
        again = await carrier.carry("orders", place, 20)
        assert (again.objects, again.versions, again.place) == (0, 0, carried.place)
        if carried.place is None:
            break
        place = carried.place
        counts.append((carried.objects, carried.versions))
    assert counts == [(20, 23), (20, 20), (5, 5), (1, 1)]
    index = Index("orders", (IndexField("total", "number"),), is_unique=True)
    while await carrier.enter([index]):
        pass
    await carrier.begin("orders")
    await check_main(main.places, {}, {"orders"})
    await carrier.finish("orders")
    await carrier.begin("orders")  # of somebody else, who is late
    with pytest.raises(ConfigError, match="orders stands in the database archive"):
        await check_main(main.places, {}, {"orders"})
    assert [await apart.objects(), await apart.told()] == expected
    in_log = await apart.in_log()
    assert [version for subject, version in in_log if subject == "03"] == [1, 2, 3]
    orders = PlacedLog(apart.log, "orders", apart.places)
    assert len((await orders.read(await orders.oldest(), limit=1000)).events) == 49
    assert not (await orders.read(await orders.opening(), limit=1000)).events
    await apart.write(write(key("03"), 3, b"[3]"))
    (fresh,) = (await orders.read(await orders.opening(), limit=1000)).events
    assert fresh.event.value()["version"] == 4
    assert await main.count("state_timer") == 0
    assert all(standing.is_ready for standing in await apart.store.indexes())


async def test_a_transaction_over_two_databases_is_refused(environment: Environment, memory: MemoryStateStore) -> None:
    """Before anything is written, and the refusal names both operations."""
    further = MemoryStateStore(environment.clock)
    store = StoreRouter(memory, {"notes": further, "papers": further})
    declared = {one.name: one for one in (ORDERS, NOTES, PAPERS)}
    async with StateManager.open(declared, replace(environment, store=store), max_data_bytes=1000) as manager:
        asked = [
            Asked("notes", "a", Put(b"{}")), Asked("papers", "a", Put(b"{}")), Asked("orders", "a", Put(b'{"total": 1}')),
        ]  # fmt: skip
        with pytest.raises(StateApartError, match=r"Operation 0 \(notes\) and operation 2 \(orders\)") as refused:
            await manager.transact(HANDLER, asked)
        assert refused.value.metadata["index"] == "2"
        assert not await further.read([key("a", "notes")])
        done = await manager.transact(ADA, asked[:2])
        assert [state.key.namespace for state in done] == ["notes", "papers"]


async def test_between_two_kinds_nothing_is_carried() -> None:
    """It is refused by name before anything is noted, whichever step is asked for."""
    carrier = NoCarrier("archive")
    for step in (carrier.begin("orders"), carrier.carry("orders", None, 1), carrier.finish("orders")):
        with pytest.raises(StateMoveRefusedError, match="orders is not moved: archive is a database of another kind"):
            await step
