"""A real PgBouncer between us and the server."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from stylobate.config import ConfigError
from stylobate.database import DatabaseManager
from stylobate.launcher.embedded.process import ChildProcess
from stylobate.launcher.embedded.unprivileged import Unprivileged
from stylobate.testing.databases import Databases

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed here")


@pytest.fixture
async def pooled(databases: Databases, server_run: Path, tmp_path: Path) -> AsyncIterator[str]:
    """Give the address of a schema behind PgBouncer, in session mode."""
    assert PROGRAM is not None
    async with databases.fresh("shop") as url:
        parts = urlsplit(url)
        host = parse_qs(parts.query)["host"][0]
        as_other = Unprivileged()
        run = as_other.folder(server_run)
        run.mkdir(exist_ok=True)
        settings = tmp_path / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={host} port=5432 user=stylobate\n"
            f"[pgbouncer]\nunix_socket_dir = {run}\nlisten_addr =\nauth_type = any\npool_mode = session\n"
            f"logfile = {run}/log\npidfile =\nmax_client_conn = 50\ndefault_pool_size = 30\n"
        )
        as_other.give(run)
        process = ChildProcess(
            "pgbouncer", [*as_other.prefix, PROGRAM, str(settings)], log=tmp_path / "out", user=as_other.user, environ={}
        )
        process.start()
        try:
            async with asyncio.timeout(60):
                while not (run / ".s.PGSQL.6432").exists():
                    assert process.is_running, process.last_words()
                    await asyncio.sleep(0.02)
            yield f"postgresql://stylobate@/{parts.path.lstrip('/')}?host={run}&port=6432"
        finally:
            await process.stop()


async def test_everything_works_through_a_pooler(pooled: str) -> None:
    """Schema, role, limits, the read-only reader, transactions and notifications are as without one."""
    async with DatabaseManager.open(pooled, service="shop", pooler=True) as database:
        for queries in (database, database.reader):
            row = await queries.fetchrow(
                "select current_schema() as schema, current_user as role, current_setting('statement_timeout') as statement"
            )
            assert row is not None
            assert tuple(row) == ("shop", "stylobate_shop", "4s")
        heard: asyncio.Queue[str] = asyncio.Queue()
        listening = await database.listen("news", heard.put_nowait)
        async with database.transaction() as connection:
            await connection.execute("create table item (id int)")
            await connection.execute("insert into item values ($1)", 7)
            await connection.execute("select pg_notify('news', 'x')")
        assert await asyncio.wait_for(heard.get(), 60) == "x"
        assert await asyncio.gather(*(database.fetchval("select id + $1 from item", n) for n in range(40))) == list(range(7, 47))
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await database.reader.execute("insert into item values (8)")
        await listening.close()


async def test_startup_parameters_are_what_it_refuses(pooled: str) -> None:
    """Without the setting a pooler refuses the connections, and the error names the setting."""
    with pytest.raises(ConfigError, match="STYLOBATE_DATABASE_POOLER"):
        async with DatabaseManager.open(pooled, service="shop"):
            pass
