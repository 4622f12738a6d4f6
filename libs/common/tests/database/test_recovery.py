"""What happens when the server is killed, stopped, not there yet."""

import asyncio

import psutil
import pytest
from stylobate.database import DatabaseManager, MigrationSet, Migrator
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.until import until


@pytest.fixture
async def server(tmp_path, server_run):
    """Give a PostgreSQL of this test's own, to be killed."""
    give_empty_cluster(tmp_path / "postgres")
    server = EmbeddedPostgres(tmp_path / "postgres", server_run, options={"fsync": "off"})
    await server.start()
    await server.ready()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "0001_item.sql").write_text("create table item (id int primary key)")
    await Migrator(server.url, "shop", [MigrationSet("shop", tmp_path / "m")]).upgrade()
    yield server
    await server.stop()


async def _killed(server):
    """Kill it as a crash would. Its backends end by themselves a moment later, and may answer until then."""
    backends = psutil.Process(server.process.pid).children()
    server.process.kill()
    await server.process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, backends, 60)
    assert not alive


async def _restarted(server):
    await server.start()
    await server.ready()


async def test_everything_works_again_after_a_kill(server):
    """After kill -9 statements fail as unavailable while it is down and work when it is back; nothing acknowledged is lost."""
    async with DatabaseManager.open(server.url, service="shop") as database:
        heard = asyncio.Queue()
        await database.listen("news", heard.put_nowait)
        await database.execute("select pg_notify('news', 'one')")
        assert await heard.get() == "one"
        await database.execute("insert into item values (1)")

        await _killed(server)
        with pytest.raises(DatabaseUnavailableError) as caught:
            await database.fetchval("select 1")
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
        health = await database.health()
        assert health.status is Status.UNHEALTHY
        assert "does not answer" in health.details

        await _restarted(server)
        assert await database.fetch("select id from item") == [(1,)]
        assert (await database.health()).status is Status.HEALTHY
        async with asyncio.timeout(60):
            assert await heard.get() == ""  # the reconnect: look for yourself
            await database.execute("select pg_notify('news', 'two')")
            assert await heard.get() == "two"


async def test_a_short_outage_is_waited_out(server):
    """A statement asked for during a quick restart is answered, not refused: acquiring is tried again for a second."""
    async with DatabaseManager.open(server.url, service="shop") as database:
        database._patience_s = 20  # a slow machine may need longer for the restart
        await database.fetchval("select 1")
        await _killed(server)
        await until(lambda: not database._pool.get_size(), within_s=60)
        asked = asyncio.create_task(database.fetchval("select 1"))
        await _restarted(server)
        assert await asked == 1


async def test_connections_that_break_as_they_are_given_up_end_nothing(server):
    """A process parts with those of its start; a server that is killed at that moment ends neither it nor what it asks later."""
    async with DatabaseManager.open(server.url, service="shop", pool_size=2) as database:
        async with database.transaction() as one, database.transaction() as two:
            backends = [psutil.Process(await connection.fetchval("select pg_backend_pid()")) for connection in (one, two)]
        for backend in backends:
            backend.kill()
        psutil.wait_procs(backends, 60)  # no turn of the loop: nobody has heard of it
        await database.renew()
        database._patience_s = 60  # the server begins anew after that
        async with database.transaction(), database.transaction() as other:
            assert await other.fetchval("select 1") == 1


async def test_a_transaction_cut_by_a_kill_is_unavailable_and_undone(server):
    """Inside a block the lost connection is the platform's error on every further call, and nothing of it remains."""
    async with DatabaseManager.open(server.url, service="shop") as database:
        with pytest.raises(DatabaseUnavailableError):  # noqa: PT012  the block is what is tested
            async with database.transaction() as connection:
                await connection.execute("insert into item values (7)")
                await _killed(server)
                with pytest.raises(DatabaseUnavailableError):
                    await connection.execute("insert into item values (8)")
                with pytest.raises(DatabaseUnavailableError):
                    await connection.fetch("select id from item")
        await _restarted(server)
        assert await database.fetch("select id from item") == []


async def test_opening_waits_for_the_server(server):
    """A database that is not there yet is waited for, not an error."""
    await server.stop()
    opened = asyncio.create_task(_open_and_ask(server.url))
    await _restarted(server)
    assert await opened == 1


async def test_opening_waits_for_the_role(server):
    """A service that starts before `db upgrade` ran waits for its role."""
    opened = asyncio.create_task(_open_and_ask(server.url, service="late"))
    done, _ = await asyncio.wait([opened], timeout=0.3)
    assert not done
    await Migrator(server.url, "late", []).upgrade()
    assert await opened == 1


async def _open_and_ask(url, service="shop"):
    async with DatabaseManager.open(url, service=service) as database:
        return await database.fetchval("select 1")


async def test_of_several_hosts_the_one_that_answers_is_found(server, tmp_path):
    """A host list is tried in turn; a dead first host costs nothing but the attempt."""
    socket = server.url.partition("host=")[2].partition("&")[0]
    url = f"postgresql://stylobate@/stylobate?host={tmp_path},{socket}&port=5432,5432"
    async with DatabaseManager.open(url, service="shop") as database:
        assert await database.fetchval("show transaction_read_only") == "off"


async def test_a_standby_that_was_the_writer_is_left(server):
    """When the server we write to turns read-only (a failover), connections are renewed instead of failing forever."""
    async with DatabaseManager.open(server.url, service="shop", use_role=False) as database:
        await database.execute("set default_transaction_read_only = on")  # as this connection's server would be
        with pytest.raises(DatabaseUnavailableError):
            await database.execute("insert into shop.item values (1)")
        assert await database.execute("insert into shop.item values (1)") == "INSERT 0 1"
