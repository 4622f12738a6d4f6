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
from stylobate_state.errors import StateApartError, StateMovedError
from stylobate_state.model import StateKey, Written
from stylobate_state.operation import Put
from stylobate_state.places import begin_log, check_main, check_own, placed, settle
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.places import Place
from stylobate_state.store.router import StoreRouter

from .conftest import MIGRATION_SETS, SERVERS, Kept, kept
from .samples import ADA, HANDLER, NOTES, ORDERS, write

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
        (
            {"DATABASES": "a=postgresql://h/d", "PLACES": "orders=a"},
            "orders=a: the projection sums is made of namespaces in other",
        ),
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
    await settle("orders", "archive", main.places, apart.places, apart.loads)
    await settle("orders", "archive", main.places, apart.places, apart.loads)
    assert await main.places.said() == {"orders": Place("archive")}
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
        await settle("notes", "archive", main.places, apart.places, apart.loads)
    (still,) = await main.write(write(key("2", "notes"), 0))
    assert isinstance(still, Written)
    await settle("orders", "archive", main.places, apart.places, apart.loads)
    await check_main(main.places, {"orders": "archive"}, {"orders", "notes"})
    with pytest.raises(ConfigError, match="STYLOBATE_STATE_PLACES: orders stands in the database archive, and is not named"):
        await check_main(main.places, {}, {"orders", "notes"})
    with pytest.raises(ConfigError, match="orders=other: orders stands in the database archive"):
        await settle("orders", "other", main.places, main.places, main.loads)
    await apart.write(write(key("1", "papers"), 0))
    with pytest.raises(ConfigError, match="papers=archive: archive has objects of a namespace papers that are not of this platf"):
        await settle("papers", "archive", main.places, apart.places, apart.loads)
    await main.places.take("orders")
    await apart.places.give("orders", "main", with_objects=True)
    with pytest.raises(ConfigError, match="orders=archive: it stands in the main database; leave it out here, or run"):
        await settle("orders", "archive", main.places, apart.places, apart.loads)


async def test_a_database_has_one_name(sides: tuple[Side, Side]) -> None:
    """Under a second one a namespace would be moved to where it is, and stand nowhere."""
    main, apart = sides
    await begin_log(apart.log, apart.numbering)
    await check_own("archive", apart.log, {"main": main.log})
    with pytest.raises(ConfigError, match="STYLOBATE_STATE_DATABASES: twin is the database archive, or a copy of it"):
        await check_own("twin", apart.log, {"main": main.log, "archive": apart.log})


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
