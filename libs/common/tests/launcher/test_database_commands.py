"""`stylobate hooks` and `stylobate db` on a database of its own."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from stylobate.testing.databases import Databases


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """Give the address of an empty database."""
    async with databases.empty() as url:
        yield url


async def run(stylobate: Any, url: str, *arguments: str) -> Any:
    """Run the command on the database."""
    return await asyncio.to_thread(stylobate, *arguments, STYLOBATE_DATABASE_URL=url)


async def test_hooks_are_listed_and_set_back(database_url: str, stylobate: Any) -> None:
    """A hook's place, what lies before it and what failed are shown; it is set to the start, the end, a time."""
    assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
    assert "no durable hook" in (await run(stylobate, database_url, "hooks", "list")).stdout
    connection = await asyncpg.connect(database_url)
    await connection.execute("update state.outbox_head set number = 5 where partition = 3")
    await connection.execute(
        "insert into state.outbox_event (id, tenant, partition, stream, subject, version, type, source, time, data, number)"
        " select gen_random_uuid(), 'default', 3, 'x', 's', n, 'state.x.y', 'state',"
        " '2026-01-01Z'::timestamptz + n * interval '1 day', '{}', n from generate_series(1, 5) n"
    )
    await connection.execute(
        "insert into actions.hook_position (hook, source, partition, number, token)"
        " select 'shop.h', 'state', n, case n when 3 then 4 else 0 end, 7 from generate_series(0, 15) n"
    )

    async def number() -> tuple[int, int]:
        row = await connection.fetchrow("select number, token from actions.hook_position where partition = 3")
        return row["number"], row["token"]

    listed = await run(stylobate, database_url, "hooks", "list")
    assert "shop.h  state  1 events of the log to go, 0 aside, 0 dead letters" in listed.stdout, listed.stderr
    for place, expected in {("--start",): 0, ("--end",): 5, ("--since", "2026-01-03T12:00:00"): 2}.items():
        said = await run(stylobate, database_url, "hooks", "rewind", "shop.h", *place)
        assert said.returncode == 0, said.stderr
        assert (await number())[0] == expected
    assert (await number())[1] == 10  # who works under the old token notices
    for wrong in (
        ("nobody", "--start"),
        ("shop.h",),
        ("shop.h", "--start", "--source", "actions"),
        ("shop.h", "--start", "--end"),
    ):
        said = await run(stylobate, database_url, "hooks", "rewind", *wrong)
        assert (said.returncode, said.stderr.startswith("error: "), said.stderr.count("\n")) == (2, True, 1), said.stderr
    await connection.close()


async def test_a_restored_log_begins_an_epoch(database_url: str, stylobate: Any) -> None:
    """`db restored` begins one for each log, or for the named one; a service without a log is refused."""
    assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
    said = await run(stylobate, database_url, "db", "restored")
    assert said.returncode == 0, said.stderr
    assert [line.partition(":")[0] for line in said.stdout.splitlines()] == ["auth", "state"]
    assert (await run(stylobate, database_url, "db", "restored", "state")).returncode == 0
    assert (await run(stylobate, database_url, "db", "restored", "gateway")).returncode == 2
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from state.outbox_epoch") == 2
    assert await connection.fetchval("select count(*) from auth.outbox_epoch") == 1
    await connection.close()
