"""A MongoDB that the platform cannot run on: one line that says what is the matter, and no waiting for what does not pass."""

import asyncio
import socket
from pathlib import Path

import pytest
from stylobate.config import ConfigError, Sources
from stylobate.database.migrations import MigrationError, MigrationSet
from stylobate.database.mongodb import MongoManager, MongoMigrator
from stylobate.database.mongodb.address import users_of
from stylobate.database.mongodb.copying import connected
from stylobate.database.mongodb.refusal import check_greeting, look, tell_sharded
from stylobate.launcher.embedded import EmbeddedMongo
from stylobate.launcher.setting_findings import findings
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until

URL = "mongodb://db1,db2/stylobate?replicaSet=rs0"
LEASES = (MigrationSet.of("leases"),)


async def test_a_set_of_another_name_is_refused(mongo_url: str) -> None:
    """Opening and migrating say which name it has."""
    wrong = mongo_url.replace("replicaSet=rs0", "replicaSet=rs7")
    with pytest.raises(ConfigError, match="its replica set is named rs0, and the URL says replicaSet=rs7"):
        async with MongoManager.open(wrong, service="bank"):
            pass
    with pytest.raises(ConfigError, match="its replica set is named rs0"):
        await MongoMigrator(wrong, "bank", LEASES).upgrade()
    with pytest.raises(ConfigError, match="its replica set is named rs0"):
        async with connected(wrong, "backup"):
            pass


async def test_a_standalone_server_is_refused(tmp_path: Path) -> None:
    """It has no transactions, and is told from one that is not there; with and without a set's name in the URL."""
    port = free_ports(1)
    server = EmbeddedMongo(tmp_path, port)
    (tmp_path / "files").mkdir()
    command = [part for part in server.process._command if part not in {"--replSet", "rs0", "--oplogSize", "64"}]
    server.process._command = command
    server.process.start()
    try:
        for query in ("", "?replicaSet=rs0"):
            with pytest.raises(ConfigError, match=r"a standalone server, .* --replSet rs0 .* rs.initiate\(\)"):
                async with MongoManager.open(f"mongodb://127.0.0.1:{port}/stylobate{query}", service="bank"):
                    pass
    finally:
        await server.stop()


async def test_a_member_that_was_just_started_is_waited_for_where_there_are_others(tmp_path: Path) -> None:
    """It says what one says whose set was never begun; where it is the only one, that is told."""
    port, nobody = free_ports(1), free_ports(1)
    server = EmbeddedMongo(tmp_path, port)
    await server.start()
    try:
        await until(lambda: _listens(port))
        with pytest.raises(ConfigError, match=r"its replica set was not begun: run rs.initiate\(\) once"):
            await look("URL", f"mongodb://127.0.0.1:{port}/stylobate")
        await look("URL", f"mongodb://127.0.0.1:{port},127.0.0.1:{nobody}/stylobate")
    finally:
        await server.stop()


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({"maxWireVersion": 13, "setName": "rs0"}, "older than MongoDB 6.0"),
        ({"maxWireVersion": 17}, "standalone"),
        ({"maxWireVersion": 17, "isreplicaset": True}, "was not begun"),
        ({"maxWireVersion": 17, "setName": "other"}, "named other"),
        ({"maxWireVersion": 17, "setName": "rs0"}, ""),
        ({"maxWireVersion": 25, "msg": "isdbgrid"}, "a mongos, .* must not say replicaSet="),
    ],
)
def test_a_greeting_tells(hello: dict[str, object], said: str) -> None:
    """By what a server says of itself it is known whether the platform can run on it."""
    if not said:
        check_greeting("STYLOBATE_DATABASE_URL", URL, hello)
        return
    with pytest.raises(ConfigError, match=f"STYLOBATE_DATABASE_URL: database db1,db2/stylobate: .*{said}"):
        check_greeting("STYLOBATE_DATABASE_URL", URL, hello)


def test_a_sharded_cluster_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """It is taken, with a line in the log that nobody has tried it."""
    check_greeting("STYLOBATE_DATABASE_URL", "mongodb://router/stylobate", {"maxWireVersion": 25, "msg": "isdbgrid"})
    for _ in range(2):
        tell_sharded("router:27017")
    assert caplog.text.count("never run on a sharded cluster") == 1


def test_where_users_stand_is_told_by_the_url() -> None:
    """As the driver reads it, which looks at names of options without their case."""
    assert users_of("mongodb://ada:x@db1,db2/shop?authsource=people&replicaSet=rs0") == "people"
    assert users_of("mongodb://ada:x@db/shop?authSource=admin") == "admin"
    assert users_of("mongodb://ada:x@db/shop") == "shop"
    assert users_of("mongodb://ada:x@db") == "admin"


async def test_a_url_that_is_none_is_refused() -> None:
    """The driver's word for it, in one line with the setting."""
    with pytest.raises(ConfigError, match=r"STYLOBATE_DATABASE_URL: database h/x: authmechanism must be in .*"):
        async with MongoManager.open("mongodb://h/x?replicaSet=rs0&authMechanism=none", service="bank"):
            pass
    said = findings(Sources(environ={"STYLOBATE_STATE_DATABASE_URL": "mongodb://h/x?foo=1"}))
    assert any(line.startswith("STYLOBATE_DATABASE_URL: database h/x: Unknown option") for line in said), said


async def test_a_part_without_migrations_is_refused(mongo_url: str, tmp_path: Path) -> None:
    """What is not there for MongoDB yet is not half there."""
    with pytest.raises(MigrationError, match="carts does not run on MongoDB yet"):
        await MongoMigrator(mongo_url, "bank", (MigrationSet("carts", tmp_path),)).upgrade()


async def test_who_is_waited_for_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The server and what it said, without all that the driver knows."""
    url = f"mongodb://127.0.0.1:{free_ports(1)}/stylobate?replicaSet=rs0"
    waiting = asyncio.create_task(MongoMigrator(url, "bank", LEASES).upgrade())
    try:
        await until(lambda: "waiting_for" in caplog.text)
    finally:
        waiting.cancel()
    assert "Connect call failed" in caplog.text
    assert "Topology" not in caplog.text
    with pytest.raises(MigrationError, match=r"Connect call failed \([^)]*\)$"):
        async with connected(url, "backup"):
            pass
