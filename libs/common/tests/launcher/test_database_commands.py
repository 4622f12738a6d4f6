"""`stylobate db` on a PostgreSQL of its own: users and refusals."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from stylobate.identity.service_keys import generate_service_keys
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


async def test_databases_of_modules_are_brought_up_to_date_too(
    database_url: str, mongo_databases: Any, stylobate: Any, tmp_path: Path
) -> None:
    """One in the service's own and one apart; a server of the other kind is refused with file and line, and nothing happens."""
    for name, kind, file, text in (
        ("ledger", "postgresql", "0001_entries.sql", "create table entry (id text)"),
        ("carts", "mongodb", "mongodb/0001_carts.json", '[{"create": "cart"}]'),
    ):
        path = tmp_path / name / "migrations" / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
        (tmp_path / name / "module.yaml").write_text(f"name: {name}\ndatabase: {kind}\n")
    modules = {"STYLOBATE_MODULES": str(tmp_path)}
    said = await run(stylobate, database_url, "db", "upgrade", **modules)
    assert (said.returncode, said.stdout) == (2, "")
    assert f"{tmp_path / 'carts' / 'module.yaml'}:2: `database: mongodb`, and STYLOBATE_DATABASE_URL leads to Post" in said.stderr
    async with mongo_databases.empty() as apart:
        modules["STYLOBATE_ACTIONS_MODULE_DATABASES"] = f"carts={apart}"
        upgraded = await run(stylobate, database_url, "db", "upgrade", **modules)
        assert "actions for the module ledger: applied ledger/0001_entries\n" in upgraded.stdout, upgraded.stderr
        assert "actions for the module carts: applied carts/0001_carts\n" in upgraded.stdout
        (tmp_path / "carts" / "migrations" / "mongodb" / "0002_more.json").write_text('[{"create": "more"}]')
        status = await run(stylobate, database_url, "db", "status", **modules)
    assert (status.returncode, "actions for the module carts: carts/0002_more\n" in status.stdout) == (1, True), status.stderr
