"""Statements and transactions on a real server."""

import asyncio
import math
from datetime import timedelta

import asyncpg
import pytest
from stylobate.database import DatabaseManager, Limits, kept
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Status
from stylobate.testing.until import until

_MOMENT = timedelta(milliseconds=100)


@pytest.fixture
async def database(database_for):
    """Give the manager of a service with one table."""
    manager = await database_for("shop", pool_size=2)
    await manager.execute("create table item (id int primary key, name text not null)")
    return manager


async def test_statements_run_in_the_service_schema_and_role(database):
    """A name without a schema is the service's own, and nothing runs as the user of the URL."""
    await database.execute("insert into item values ($1, $2)", 1, "cup")
    assert await database.fetchval("select name from shop.item") == "cup"
    assert await database.fetchval("select current_user::text") == "stylobate_shop"
    assert [tuple(row) for row in await database.fetch("select id, name from item")] == [(1, "cup")]
    assert (await database.fetchrow("select id from item"))["id"] == 1
    assert await database.fetchrow("select id from item where id = 2") is None


async def test_a_transaction_is_all_or_nothing(database):
    """What a failed block wrote is not there, what a finished one wrote is."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  the block is what is tested
        async with database.transaction() as connection:
            await connection.execute("insert into item values (1, 'lost')")
            raise ZeroDivisionError
    async with database.transaction() as connection:
        await connection.executemany("insert into item values ($1, $2)", [(2, "kept"), (3, "kept")])
    assert await database.fetchval("select array_agg(id order by id) from item") == [2, 3]


async def test_what_postgres_says_of_a_statement_stays_its_error(database):
    """A conflict is the store's to judge, and the connection is fit for use afterwards."""
    await database.execute("insert into item values (1, 'cup')")
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute("insert into item values (1, 'cup')")
    with pytest.raises(asyncpg.InterfaceError):
        await database.execute("insert into item values ($1, $2)", 1)
    assert await database.fetchval("select count(*) from item") == 1


async def is_waited_for(connection, by: int = 1) -> None:
    """Return when this many connections wait for a lock."""
    await until(lambda: connection.fetchval("select count(*) from pg_locks where not granted"), lambda waiting: waiting >= by)


async def test_a_statement_that_lost_a_deadlock_is_run_again(database, database_for):
    """The server ends it in favour of a transaction that waits for it; its caller sees that it was done."""
    await database.execute("insert into item values (1, 'cup'), (2, 'pot'), (3, 'jar')")
    every = "with l as (select id from item order by id for update) update item i set name = name || '!' from l where l.id = i.id"
    others = await database_for("shop")
    async with others.transaction() as other:
        # Who waits looks for a deadlock once, after a time; this one never does, so it is always the statement that gives way.
        await other.execute("set local role none; set local deadlock_timeout = '1h'; select from item where id = 3 for update")
        async with others.transaction() as gate:
            await gate.execute("select from item where id = 2 for update")
            statement = asyncio.create_task(database.execute(every))
            await is_waited_for(gate)
            change = asyncio.create_task(other.execute("update item set name = 'jug' where id = 1"))
            await is_waited_for(gate, by=2)
        await change
    assert await statement == "UPDATE 3"
    assert [row["name"] for row in await database.fetch("select name from item order by id")] == ["jug!", "pot!", "jar!"]


async def test_a_statement_that_could_not_be_serialized_is_run_again(database):
    """It sees what the other did then."""
    await database.execute("insert into item values (1, '')")
    async with database.transaction() as other:
        await other.execute("update item set name = name || 'a'")
        repeatable = "set transaction isolation level repeatable read; update item set name = name || 'b'"
        statement = asyncio.create_task(database.execute(repeatable))
        await is_waited_for(other)
    await statement
    assert await database.fetchval("select name from item") == "ab"


async def test_the_reader_refuses_writes(database):
    """Code that writes through the reader fails at once, not only where there is a replica."""
    await database.execute("insert into item values (1, 'cup')")
    assert await database.reader.fetchval("select name from item") == "cup"
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await database.reader.execute("insert into item values (2, 'cup')")


async def test_an_exhausted_pool_is_an_unavailable_database(databases):
    """A caller that gets no connection in time is told so, with the time to wait; health says how many wait."""
    async with databases.fresh("shop") as url, DatabaseManager.open(url, service="shop", pool_size=1) as database:
        database._wait_s = 0.05
        async with database.transaction():
            with pytest.raises(DatabaseUnavailableError) as caught:
                await database.fetchval("select 1")
            assert caught.value.retry_after.total_seconds() == 1
            waiting = asyncio.create_task(database.fetchval("select 1"))
            health = await database.health()
            assert health.status is Status.UNHEALTHY
            assert health.metrics["pool_in_use"] == health.metrics["pool_max"] == 1
            with pytest.raises(DatabaseUnavailableError):
                await waiting
        assert (await database.health()).status is Status.HEALTHY
        assert await asyncio.gather(*(database.fetchval("select $1::int", n) for n in range(10))) == list(range(10))


async def test_a_slow_statement_is_an_unavailable_database(databases):
    """Past the command timeout the caller is released and the connection is usable or replaced."""
    async with (
        databases.fresh("shop") as url,
        DatabaseManager.open(url, service="shop", pool_size=1, limits=Limits(statement=_MOMENT)) as database,
    ):
        with pytest.raises(DatabaseUnavailableError):
            await database.fetchval("select pg_sleep(10)")
        with pytest.raises(DatabaseUnavailableError):
            async with database.transaction() as connection:
                await connection.fetchval("select pg_sleep(10)")
        assert await database.fetchval("select 1") == 1


async def test_a_cancelled_caller_gives_its_connection_back(databases, postgres_url):
    """Cancellation in the middle of a statement neither leaks the connection nor poisons it."""
    async with databases.fresh("shop") as url, DatabaseManager.open(url, service="shop", pool_size=1) as database:
        for work in (database.fetchval("select pg_sleep(10)"), _sleep_in_transaction(database)):
            task = asyncio.create_task(work)
            await _until_asleep(postgres_url, task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await database.fetchval("select 1") == 1
        assert (await database.health()).metrics["pool_in_use"] == 0


async def _sleep_in_transaction(database):
    async with database.transaction() as connection:
        await connection.fetchval("select pg_sleep(10)")


async def _until_asleep(url, task):
    connection = await asyncpg.connect(url)
    asleep = "select exists (select from pg_stat_activity where query like 'select pg_sleep%' and state = 'active')"
    try:
        while not await connection.fetchval(asleep):
            assert not task.done()
    finally:
        await connection.close()


async def test_a_transaction_may_be_cancelled_anywhere(database):
    """Cancelled while it begins, works, commits or rolls back: nothing is reported, nothing stays open, nothing half is kept."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))

    async def work(number: int) -> None:
        async with database.transaction() as connection:
            await connection.execute("insert into item values ($1, 'a')", 2 * number)
            await connection.execute("insert into item values ($1, 'b')", 2 * number + 1)
            if number % 3 == 0:
                raise ZeroDivisionError

    for number in range(400):
        task = asyncio.ensure_future(work(number))
        asyncio.get_running_loop().call_later(number % 40 * 0.0001, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
    assert complaints == []
    assert await database.fetchval("select count(*) from item group by id / 2 having count(*) <> 2") is None
    left = "select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()"
    assert await database.fetchval(left) == 0


async def test_a_connection_is_kept_for_the_next_statement_and_given_back_soon(database):
    """The next statement has the connection of the last one, without the pool; a moment later the pool has it again."""
    pids = [await database.fetchval("select pg_backend_pid()") for _ in range(3)]
    assert len(set(pids)) == 1
    pool = database._pool
    assert (pool.get_size(), pool.get_idle_size()) == (1, 0)
    await until(pool.get_idle_size, lambda idle: idle == 1, within_s=60)
    assert await database.fetchval("select pg_backend_pid()") == pids[0]


async def test_a_kept_connection_that_broke_is_not_given_out(database, postgres_url):
    """What the server ended while nobody used it is left out: the next statement has a connection that stands."""
    broken = await database.fetchval("select pg_backend_pid()")
    other = await asyncpg.connect(postgres_url)
    await other.execute("select pg_terminate_backend($1)", broken)
    await other.close()
    await until(database._pool.get_size, lambda size: size == 0, within_s=60)
    assert await database.fetchval("select pg_backend_pid()") != broken


async def test_types_are_asked_for_once_in_a_process(database, monkeypatch):
    """A connection knows the types of its statements from the first one that asked: the server takes long to tell."""
    statement, values = "select $1::bigint[] as a, $2::uuid[] as b, $3::jsonb[] as c", ([1, None], ["0" * 32], ['{"a": 1}'])
    async with database.transaction() as connection:
        await connection.fetchrow(statement, *values)
        monkeypatch.setattr(asyncpg.Connection, "_introspect_types", None)
        row = await database.fetchrow(statement, *values)  # on another one
    assert (row["a"], row["b"][0].int, row["c"]) == ([1, None], 0, ['{"a": 1}'])


async def test_times_as_text_have_the_form_that_stores_read_whatever_form_the_database_likes(database_for, postgres_url):
    """A database may be set to another form and another zone; a connection of the platform has its own."""
    database = await database_for("shop")
    name = await database.fetchval("select current_database()::text")
    admin = await asyncpg.connect(postgres_url)
    for setting in ("datestyle = 'German'", "timezone = 'Asia/Tokyo'"):
        await admin.execute(f'alter database "{name}" set {setting}')
    await admin.close()
    for queries in (database, database.reader):
        async with queries.transaction() as first, queries.transaction() as connection:
            for one in (first, connection):
                assert await one.fetchval("select timestamptz '2026-03-01 12:00:00.25+01'::text") == "2026-03-01 11:00:00.25+00"


@pytest.fixture
async def rested(database, monkeypatch):
    """Give a manager with one connection, which is waited for as long as it takes."""
    monkeypatch.setattr(kept, "_SOON_S", 3600.0)
    await database.fetchval("select 1")
    database._kept._counted_from = math.inf  # one second, however long it takes
    return database


async def test_at_rest_two_at_once_have_one_connection(rested):
    """The second has that of the first as soon as it is given back: from a statement, or from a transaction."""
    for _ in range(3):
        assert len(set(await asyncio.gather(*(rested.fetchval("select pg_backend_pid()") for _ in range(2))))) == 1
    async with rested.transaction():
        waiting = asyncio.create_task(rested.fetchval("select 2"))
        await asyncio.sleep(0)
    assert await waiting == 2
    assert rested._pool.get_size() == 1


async def test_one_that_is_not_given_back_is_not_waited_for_twice(rested, monkeypatch):
    """Who waited in vain opens another connection, and so do those after it, at once; so do they where many wait."""
    monkeypatch.setattr(kept, "_SOON_S", 0.0)
    async with rested.transaction() as connection:
        mine = await connection.fetchval("select pg_backend_pid()")
        other = await rested.fetchval("select pg_backend_pid()")
        assert other != mine
        monkeypatch.setattr(kept, "_SOON_S", 3600.0)
        async with rested.transaction() as second:
            assert await second.fetchval("select pg_backend_pid()") == other
    rested._kept._waits = kept._CALM
    await rested._pool.expire_connections()
    await rested.let_go()
    assert len(set(await asyncio.gather(*(rested.fetchval("select pg_backend_pid(), pg_sleep(0.01)") for _ in range(2))))) == 2


async def test_who_is_cancelled_as_it_gets_a_connection_gives_it_on(rested):
    """The next statement has it, and nothing counts as in use."""
    async with rested.transaction() as connection:
        pid = await connection.fetchval("select pg_backend_pid()")
        waiting = asyncio.create_task(rested.fetchval("select pg_backend_pid()"))
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert await rested.fetchval("select pg_backend_pid()") == pid
    assert rested._in_use == 0
