"""What PostgreSQL says becomes one of three things for a caller: come again, a value is refused, or a defect."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import psutil
import pytest
from stylobate.database import DatabaseManager, Limits
from stylobate.errors import DatabaseUnavailableError, InvalidInputError, StylobateError, ValueRefusedError
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.testing.cluster import give_empty_cluster

PASSES = (
    *("53000", "53100", "53200", "53300", "53400", "57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05"),
    *("58000", "58030", "40000", "40001", "40P01", "40003", "55P03", "25P03", "08000", "08006"),
)
REFUSED = ("22000", "22001", "22003", "22007", "22008", "22021", "22023", "22P02", "22P05", "54000", "54001", "54023")
STORES = {"23505": asyncpg.UniqueViolationError, "23514": asyncpg.CheckViolationError, "42P01": asyncpg.UndefinedTableError}
RAISE = "do $$ begin raise exception using errcode = '%s'; end $$"

Ask = Callable[[DatabaseManager, str], Awaitable[Any]]


async def in_transaction(database: DatabaseManager, sql: str) -> None:
    """Run a statement in a transaction."""
    async with database.transaction() as connection:
        await connection.execute(sql)


WAYS: dict[str, Ask] = {
    "write": lambda database, sql: database.execute(sql),
    "read": lambda database, sql: database.fetch(sql),
    "reader": lambda database, sql: database.reader.fetchrow(sql),
    "transaction": in_transaction,
}


@pytest.fixture
async def database(database_for: Any) -> DatabaseManager:
    """Give a database."""
    return await database_for("shop")  # type: ignore[no-any-return]


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
async def test_each_sqlstate_has_its_meaning(database: DatabaseManager, ask: Ask) -> None:
    """By whichever way it was asked: 503 with a time to wait for what may pass, 422 for a value, the driver's error else."""
    for code in PASSES:
        with pytest.raises(DatabaseUnavailableError) as passing:
            await ask(database, RAISE % code)
        assert (passing.value.http_status, passing.value.retry_after) == (503, timedelta(seconds=1)), code
    for code in REFUSED:
        with pytest.raises(ValueRefusedError) as refused:
            await ask(database, RAISE % code)
        assert refused.value.http_status == 422, code
    for code, kind in STORES.items():
        with pytest.raises(kind):
            await ask(database, RAISE % code)
    with pytest.raises(asyncpg.PostgresError) as defect:
        await ask(database, RAISE % "XX000")
    assert not isinstance(defect.value, StylobateError)


@pytest.mark.parametrize("value", ["\0", "a\0b", 1 << 63, -(1 << 64), "x", "\ud800"])
async def test_values_that_the_database_cannot_take(database: DatabaseManager, value: object) -> None:
    """Whether the driver or the server refuses a value, for a read as for a write it is the caller's, with one reason."""
    kind = "text" if isinstance(value, str) and value != "x" else "bigint"
    for sql in (f"select $1::{kind}", f"select 1 where $1::{kind} is null"):
        for ask in (database.fetch, database.reader.fetchval):
            with pytest.raises(InvalidInputError) as caught:
                await ask(sql, value)
            assert caught.value.reason == "VALUE_REFUSED"


async def test_what_was_undone_for_others_is_sent_again(database: DatabaseManager) -> None:
    """A statement that met a serialization failure or a deadlock is repeated, since nothing of it happened; not forever."""
    await database.execute("create table shop.made (id int); create sequence shop.tries")
    await database.execute(
        "create function shop.flaky(code text, good_at int) returns int language plpgsql as $$ begin"
        " insert into shop.made values (1);"
        " if nextval('shop.tries') < good_at then raise exception using errcode = code; end if; return 1; end $$"
    )
    for code in ("40001", "40P01"):
        await database.execute("select setval('shop.tries', 1, false)")
        assert await database.fetchval("select shop.flaky($1, 3)", code) == 1
    assert await database.fetchval("select count(*) from shop.made") == 2
    with pytest.raises(DatabaseUnavailableError):
        await database.fetchval("select shop.flaky('40001', 1000000)")


async def test_limits_are_kept_by_the_server(databases: Any) -> None:
    """A statement that is too long, a lock that is not to be had, a transaction that rests: each is told as unavailable."""
    limits = Limits(timedelta(milliseconds=200), timedelta(milliseconds=100), timedelta(milliseconds=100))
    async with (
        databases.empty() as url,
        DatabaseManager.open(url, service="shop", use_role=False, limits=limits) as database,
    ):
        with pytest.raises(DatabaseUnavailableError) as caught:
            await database.fetchval("select pg_sleep(60)")
        assert caught.value.metadata["cause"] == "QueryCanceledError"
        other = await asyncpg.connect(url)
        await other.execute("create schema shop; create table shop.t (id int)")
        async with other.transaction():
            await other.execute("lock table shop.t")
            with pytest.raises(DatabaseUnavailableError) as caught:
                await database.fetch("select * from t")
            assert caught.value.metadata["cause"] == "LockNotAvailableError"
        with pytest.raises(DatabaseUnavailableError):  # noqa: PT012  the block is what is tested
            async with database.transaction() as connection:
                await connection.execute("insert into t values (1)")
                await other.fetchval("select pg_sleep(1)")
                await connection.execute("insert into t values (2)")
        assert await other.fetchval("select count(*) from shop.t") == 0
        await other.close()


@pytest.fixture
async def frozen(tmp_path: Any, server_run: Any) -> AsyncIterator[tuple[DatabaseManager, list[psutil.Process]]]:
    """Give a database with open connections, and the processes of its server, to be stopped."""
    give_empty_cluster(tmp_path / "postgres")
    server = EmbeddedPostgres(tmp_path / "postgres", server_run, options={"fsync": "off"})
    await server.start()
    await server.ready()
    limits = Limits(statement=timedelta(milliseconds=300))
    try:
        async with DatabaseManager.open(server.url, service="shop", use_role=False, limits=limits) as database:
            postmaster = psutil.Process(server.process.pid)
            processes = [postmaster, *postmaster.children(recursive=True)]
            yield database, processes
            _resume(processes)
    finally:
        await server.stop()


def _resume(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a connection's that was closed
            process.resume()


async def test_a_server_that_hangs_is_unavailable_like_one_that_refuses(
    frozen: tuple[DatabaseManager, list[psutil.Process]],
) -> None:
    """Frozen with SIGSTOP it is told as unavailable (503, not a deadline), health says so, and all is well afterwards."""
    database, processes = frozen
    for process in processes:
        process.suspend()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError) as caught:
            await database.fetchval("select 1")
        assert caught.value.http_status == 503
    assert (await database.health()).status is Status.UNHEALTHY
    _resume(processes)
    assert await database.fetchval("select 1") == 1
