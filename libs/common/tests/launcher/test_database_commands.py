"""`stylobate hooks` and `stylobate db` on a database of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from stylobate.identity import generate_service_keys
from stylobate.outbox import Event
from stylobate.testing.databases import Databases
from stylobate.testing.ports import free_ports


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """Give the address of an empty database."""
    async with databases.empty() as url:
        yield url


async def run(stylobate: Any, url: str, *arguments: str, **environ: str) -> Any:
    """Run the command on the database."""
    return await asyncio.to_thread(stylobate, *arguments, STYLOBATE_DATABASE_URL=url, **environ)


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
    for place, expected in {("--start",): 0, ("--end",): 5, ("--since", "2026-01-03T12:00:00Z"): 2}.items():
        said = await run(stylobate, database_url, "hooks", "rewind", "shop.h", *place)
        assert said.returncode == 0, said.stderr
        assert (await number())[0] == expected
    assert (await number())[1] == 10  # who works under the old token notices
    for wrong in (
        ("nobody", "--start"),
        ("shop.h",),
        ("shop.h", "--start", "--source", "actions"),
        ("shop.h", "--start", "--end"),
        ("shop.h", "--since", "9998-01-03T00:00:00Z"),
        ("shop.h", "--since", "2026-01-03"),
        ("shop.h", "--since", "9999-12-31T23:59:59-12:00"),
        ("shop.h", "--since", "0001-01-01T00:00:00+12:00"),
    ):
        said = await run(stylobate, database_url, "hooks", "rewind", *wrong)
        assert (said.returncode, said.stderr.startswith("error: "), said.stderr.count("\n")) == (2, True, 1), said.stderr
    assert (await number())[0] == 2  # as it was
    await connection.close()


async def test_dead_letters_are_shown_run_again_and_forgotten(database_url: str, stylobate: Any) -> None:
    """Each of the four; what is not there is told in one line."""
    assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
    assert (await run(stylobate, database_url, "events", "dead", "list")).stdout == "no dead letters\n"
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into actions.hook_position (hook, source, partition, number)"
        " select 'shop.h', 'state', n, 9 from generate_series(0, 15) n"
    )
    event = Event.new("state.orders.created", "orders/7", {"total": 1000}, source="state")
    for number in range(3):
        await connection.execute(
            "insert into actions.hook_dead_letter (hook, source, partition, number, tenant, event, attempts, error)"
            " values ($1, 'state', 3, $2, 'default', $3, 8, 'KeyError: [tea]')",
            *("shop.h" if number else "shop.gone", number, event.json().decode()),
        )
    await connection.execute(
        "insert into actions.hook_dead_letter (hook, source, partition, number, attempts, error)"
        " values ('shop.h', 'state', 3, 7, 0, 'gone')"
    )
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
        ("redrive",),
        ("redrive", ids[0], "--hook", "shop.h"),
        ("redrive", "999"),
        ("redrive", gap),
        ("redrive", ids[2]),
        ("drop", "999"),
    ):
        said = await run(stylobate, database_url, "events", "dead", *wrong)
        assert (said.returncode, said.stderr.startswith("error: "), said.stderr.count("\n")) == (2, True, 1), said.stderr
    driven = await run(stylobate, database_url, "events", "dead", "redrive", "--hook", "shop.h")
    assert driven.stdout == "2 run again within ten seconds\n", driven.stderr
    assert await connection.fetchval("select count(*) from actions.hook_aside where subject = 'orders/7'") == 2
    dropped = await run(stylobate, database_url, "events", "dead", "drop", gap, ids[2])
    assert dropped.stdout == "2 forgotten\n", dropped.stderr
    assert await connection.fetchval("select count(*) from actions.hook_dead_letter") == 0
    await connection.close()


async def test_a_restored_log_begins_an_epoch(database_url: str, stylobate: Any) -> None:
    """`db restored` begins one for each log, or for the named one; a service without a log is refused."""
    assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
    said = await run(stylobate, database_url, "db", "restored")
    assert said.returncode == 0, said.stderr
    assert sorted(line.partition(":")[0] for line in said.stdout.splitlines()) == ["auth", "ratelimit", "realtime", "state"]
    assert (await run(stylobate, database_url, "db", "restored", "state")).returncode == 0
    assert (await run(stylobate, database_url, "db", "restored", "gateway")).returncode == 2
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("select count(*) from state.outbox_epoch") == 2
    assert await connection.fetchval("select count(*) from auth.outbox_epoch") == 1
    await connection.close()


def other(url: str, *, user: str = "", database: str = "") -> str:
    """Return the address for another user or database."""
    head, _, query = url.partition("?")
    name = database or head.rpartition("/")[2]
    return f"postgresql://{user or 'stylobate'}@/{name}?{query}"


async def test_each_service_may_have_a_database_user_of_its_own(database_url: str, stylobate: Any) -> None:
    """A user that may take the role of its service sees its schema; one that may not is told what to ask for, in one line."""
    connection = await asyncpg.connect(database_url)
    user = "app_" + await connection.fetchval("select current_database()")
    await connection.execute(f"create user {user}")
    try:
        assert (await run(stylobate, database_url, "db", "upgrade")).returncode == 0
        said = await run(stylobate, other(database_url, user=user), "db", "status")
        assert (said.returncode, said.stderr.count("\n")) == (2, 1)
        assert "may not take role stylobate_" in said.stderr
        assert "--grant-to" in said.stderr
        assert (await run(stylobate, database_url, "db", "upgrade", "--grant-to", f"gateway={user}")).returncode == 2
        assert (await run(stylobate, database_url, "db", "upgrade", "--grant-to", "nobody_at_all")).returncode == 2
        for grant in (f"state={user}", user):
            granted = await run(stylobate, database_url, "db", "upgrade", "--grant-to", grant)
            assert (granted.returncode, f"state: {user} may take its role" in granted.stdout) == (0, True), granted.stderr
        said = await run(stylobate, other(database_url, user=user), "db", "status")
        assert said.returncode == 0, said.stderr
        assert "state: up to date" in said.stdout
        listed = await run(stylobate, other(database_url, user=user), "hooks", "list")
        assert listed.returncode == 0, listed.stderr
    finally:
        for role in ("auth", "state", "actions"):
            await connection.execute(f"revoke stylobate_{role} from {user}")
        await connection.execute(f"drop user {user}")
        await connection.close()


@pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "status"), ("serve", "state")], ids=" ".join)
async def test_a_database_that_refuses_is_one_line(
    database_url: str, stylobate: Any, command: tuple[str, ...], tmp_path: Path
) -> None:
    """A user or database that is not there, or missing rights: one line that says which, exit code 2, no traceback."""
    connection = await asyncpg.connect(database_url)
    user = "poor_" + await connection.fetchval("select current_database()")
    await connection.execute(f"create user {user}")
    generate_service_keys(tmp_path / "identity", ("state",))
    grpc, admin = (str(free_ports()) for _ in range(2))
    environ = {
        "STYLOBATE_IDENTITY_FOLDER": str(tmp_path / "identity"),
        "STYLOBATE_LISTEN": "127.0.0.1",
        "STYLOBATE_GRPC_PORT": grpc,
        "STYLOBATE_ADMIN_PORT": admin,
        "STYLOBATE_MODULES": "",
        "STYLOBATE_DRAIN_WAIT": "0s",
    }
    try:
        wrong = {other(database_url, user="nobody"): "nobody", other(database_url, database="nowhere"): "nowhere"}
        if command == ("db", "upgrade"):
            wrong[other(database_url, user=user)] = "may not"
        for url, word in wrong.items():
            said = await asyncio.to_thread(stylobate, *command, STYLOBATE_DATABASE_URL=url, **environ)
            errors = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
            assert (said.returncode, len(errors)) == (2, 1), said.stderr
            assert word in errors[0]
            assert "Traceback" not in said.stderr + said.stdout
    finally:
        await connection.execute(f"drop user {user}")
        await connection.close()
