"""`stylobate hooks`, `events dead` and `db restored`, on a database of either kind."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.database import DatabaseManager
from stylobate.database.address import is_mongodb
from stylobate.database.mongodb import MongoManager
from stylobate.hooks.port import Place
from stylobate.outbox import Event, LoggedEvent, Position
from stylobate.testing.databases import Databases

from .test_database_commands import run


@pytest.fixture(params=["postgresql", "mongodb"])
async def database_url(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[str]:
    """Give the address of a place where no service keeps anything yet."""
    made = databases if request.param == "postgresql" else request.getfixturevalue("mongo_databases")
    async with made.empty() as url:
        yield url


@asynccontextmanager
async def storage_of(url: str, service: str) -> AsyncIterator[Storage]:
    """Open what a service has there."""
    if is_mongodb(url):
        async with MongoManager.open(url, service=service, pool_size=2) as on_mongodb:
            yield MongoStorage(on_mongodb)
    else:
        async with DatabaseManager.open(url, service=service, pool_size=2) as database:
            yield PostgresStorage(database)


async def events_written(storage: Storage, count: int) -> LoggedEvent:
    """Write and number events of one subject, one for each day of 2026; return the last."""
    for day in range(count):
        event = Event.new("state.orders.created", "orders/7", {"total": 1000}, source="state")
        event = replace(event, time=datetime(2026, 1, 2, tzinfo=UTC) + timedelta(days=day))
        match storage:
            case PostgresStorage():
                async with storage.database.transaction() as connection:
                    await storage.outbox("state").append(connection, [event], stream="x", version=day + 1)
            case MongoStorage():
                async with storage.database.transaction() as transaction:
                    await storage.outbox("state").append(transaction, [event], stream="x", version=day + 1)
    numbering = storage.numbering("state")
    assert await numbering.claim(1)
    numbered = await numbering.number(1)
    assert numbered is not None
    assert [logged.number for logged in numbered] == list(range(1, count + 1))
    return numbered[-1]


async def test_hooks_are_listed_and_set_back(database_url: str, stylobate: Any) -> None:
    """A hook's place, what lies before it and what failed are shown; it is set to the start, the end, a time."""
    assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
    assert "no durable hook" in (await run(stylobate, database_url, "hooks", "list")).stdout
    async with storage_of(database_url, "state") as storage:
        partition = (await events_written(storage, 5)).event.partition
    async with storage_of(database_url, "actions") as storage:
        hooks = storage.hooks()
        await hooks.add("state", ["shop.h"], Position.origin().advanced({partition: 4}))
        await hooks.take("state", ["shop.h"], 7)

        async def number() -> int:
            (standing,) = await hooks.listing()
            return standing.position.numbers[partition]

        listed = await run(stylobate, database_url, "hooks", "list")
        assert "shop.h  state  1 events of the log to go, 0 aside, 0 dead letters" in listed.stdout, listed.stderr
        for place, expected in {("--start",): 0, ("--end",): 5, ("--since", "2026-01-03T12:00:00Z"): 2}.items():
            said = await run(stylobate, database_url, "hooks", "rewind", "shop.h", *place)
            assert said.returncode == 0, said.stderr
            assert await number() == expected
        assert await hooks.holds("shop.h", "state", 10), "who works under the old token notices"
        said = await run(stylobate, database_url, "hooks", "rewind", "nobody", "--start")
        assert (said.returncode, said.stderr.startswith("error: "), said.stderr.count("\n")) == (2, True, 1), said.stderr
        assert await number() == 2, "as it was"


@pytest.mark.parametrize(
    "arguments",
    [
        ("shop.h",),
        ("shop.h", "--start", "--source", "actions"),
        ("shop.h", "--start", "--end"),
        ("shop.h", "--since", "9998-01-03T00:00:00Z"),
        ("shop.h", "--since", "2026-01-03"),
        ("shop.h", "--since", "9999-12-31T23:59:59-12:00"),
        ("shop.h", "--since", "0001-01-01T00:00:00+12:00"),
    ],
    ids=" ".join,
)
async def test_a_place_that_is_none_is_refused(stylobate: Any, arguments: tuple[str, ...]) -> None:
    """In one line, before any database is asked."""
    said = await run(stylobate, "postgresql://nobody@127.0.0.1:1/nowhere", "hooks", "rewind", *arguments)
    assert (said.returncode, said.stderr.startswith("error: "), said.stderr.count("\n")) == (2, True, 1), said.stderr
    assert "database" not in said.stderr


async def test_dead_letters_are_shown_run_again_and_forgotten(database_url: str, stylobate: Any) -> None:
    """Each of the four; what is not there is told in one line."""
    assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
    assert (await run(stylobate, database_url, "events", "dead", "list")).stdout == "no dead letters\n"
    event = Event.new("state.orders.created", "orders/7", {"total": 1000}, source="state")
    async with storage_of(database_url, "actions") as storage:
        hooks = storage.hooks()
        await hooks.add("state", ["shop.gone", "shop.h"], Position.origin())
        for hook, number in (("shop.gone", 1), ("shop.h", 1), ("shop.h", 2)):
            logged = LoggedEvent(event, event.partition, number)
            assert await hooks.bury(Place(hook, "state", event.partition, 0, ""), logged, 8, "KeyError: [tea]")
        assert await hooks.bury_gap(Place("shop.h", "state", event.partition, 0, ""), 7, "gone", move_to=7)
        match storage:
            case PostgresStorage():
                await storage.database.execute("delete from hook_position where hook = 'shop.gone'")
            case MongoStorage():
                await storage.database.delete("hook_position", {"_id.hook": "shop.gone"})
        listed = (await run(stylobate, database_url, "events", "dead", "list", COLUMNS="400")).stdout.splitlines()
        assert len(listed) == 4
        assert "shop.h  events up to 7 were gone  gone" in listed[0]
        assert "shop.h  state.orders.created  orders/7  KeyError: [tea]" in listed[1]
        gap, *ids = (line.split()[0] for line in listed)
        assert len((await run(stylobate, database_url, "events", "dead", "list", "--hook", "shop.gone")).stdout.splitlines()) == 1
        shown = json.loads((await run(stylobate, database_url, "events", "dead", "show", ids[0])).stdout)
        assert (shown["hook"], shown["attempts"], shown["event"]["id"]) == ("shop.h", 8, event.id)
        for wrong in (
            ("show", "999"),
            ("redrive", ids[0], "--hook", "shop.h"),
            ("redrive", "999", gap, ids[2]),
            ("drop", "999"),
        ):
            said = await run(stylobate, database_url, "events", "dead", *wrong)
            assert (said.returncode, said.stderr.startswith("error: "), said.stderr.count("\n")) == (2, True, 1), said.stderr
        assert {letter.id for letter in await hooks.dead_letters()} == {int(letter) for letter in (gap, *ids)}
        driven = await run(stylobate, database_url, "events", "dead", "redrive", "--hook", "shop.h")
        assert driven.stdout == "2 run again within ten seconds\n", driven.stderr
        assert await hooks.subjects_aside("shop.h", "state") == {event.partition: {("default", "orders/7"): 2}}
        dropped = await run(stylobate, database_url, "events", "dead", "drop", gap, ids[2])
        assert dropped.stdout == "2 forgotten\n", dropped.stderr
        assert await hooks.dead_letters() == []


async def test_a_restored_log_begins_an_epoch(database_url: str, stylobate: Any) -> None:
    """`db restored` begins one for each log, or for the named one; a service without a log is refused."""

    async def epochs() -> dict[str, str]:
        found = {}
        for service in ("auth", "state"):
            async with storage_of(database_url, service) as storage:
                found[service] = (await storage.event_log(service).head()).epoch
        return found

    assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
    said = await run(stylobate, database_url, "db", "restored")
    assert said.returncode == 0, said.stderr
    first = dict(line.removesuffix(" has begun").split(": epoch ") for line in said.stdout.splitlines())
    assert sorted(first) == ["auth", "ratelimit", "realtime", "state"]
    assert await epochs() == {"auth": first["auth"], "state": first["state"]}
    said = await run(stylobate, database_url, "db", "restored", "state")
    assert said.returncode == 0, said.stderr
    assert (await run(stylobate, database_url, "db", "restored", "gateway")).returncode == 2
    second = await epochs()
    assert (second["auth"], f"state: epoch {second['state']} has begun\n") == (first["auth"], said.stdout)
