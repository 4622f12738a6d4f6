"""Which namespace stands in which database: settings held against what two databases say."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
import pytest_asyncio
from stylobate.config import ConfigError, Sources
from stylobate.database import DatabaseManager
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.outbox import EventPattern, PositionExpiredError
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.testing.databases import Databases
from stylobate_state.errors import StateApartError, StateMovedError
from stylobate_state.model import StateKey, Written
from stylobate_state.operation import Put
from stylobate_state.places import check_main, placed, settle
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.placed_log import PlacedLog
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.postgres_places import PostgresPlaceStore
from stylobate_state.store.router import StoreRouter

from .conftest import MIGRATION_SETS
from .samples import ADA, HANDLER, NOTES, ORDERS, write

PAPERS = replace(NOTES, name="papers")


def key(name: str, namespace: str = "orders") -> StateKey:
    """Name an object."""
    return StateKey("default", namespace, name)


@dataclass
class Side:
    """One of two databases."""

    database: DatabaseManager
    places: PostgresPlaceStore
    store: PostgresStateStore

    async def write(self, *writes) -> list[object]:
        """Write, and give what was written its places in the log."""
        outcomes = await self.store.write(writes)
        numbering = PostgresNumbering(self.database, "state")
        await numbering.claim(1)
        await numbering.number(1)
        return list(outcomes)


@pytest_asyncio.fixture
async def sides(databases: Databases) -> AsyncIterator[tuple[Side, Side]]:
    """Give the main database and a further one."""
    async with (
        databases.fresh("state", *MIGRATION_SETS) as one,
        databases.fresh("state", *MIGRATION_SETS) as two,
        DatabaseManager.open(one, service="state") as first,
        DatabaseManager.open(two, service="state") as second,
    ):
        yield _side(first), _side(second)


def _side(database: DatabaseManager) -> Side:
    store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
    return Side(database, PostgresPlaceStore(database, "state"), store)


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
    log = PostgresEventLog(apart.database, "state")
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
        await orders.check(await PostgresEventLog(main.database, "state").head())


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
