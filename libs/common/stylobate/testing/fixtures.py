"""pytest plugin: one embedded PostgreSQL and one embedded Valkey per test session, a fresh database per test.

``pytest_plugins = ["stylobate.testing.fixtures"]`` in the root conftest loads it. Servers start when first asked for.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio

from stylobate.database import DatabaseManager, Limits, MigrationSet
from stylobate.launcher.embedded import (
    EmbeddedMongo,
    EmbeddedPostgres,
    EmbeddedServer,
    EmbeddedServerError,
    EmbeddedValkey,
    run_folder,
)
from stylobate.redis import RedisManager
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.databases import Databases
from stylobate.testing.logs import plain_logs
from stylobate.testing.ports import free_ports
from stylobate.testing.shared_folder import shared_folder
from stylobate.testing.valkey_cluster import ValkeyCluster

if TYPE_CHECKING:
    from stylobate.database.mongodb import MongoManager
    from stylobate.testing.mongodb import MongoDatabases
    from stylobate.testing.vault import VaultServer

_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "64MB"}
"""The data of a test need to survive a killed server, which they do; not a lost machine."""

_PATIENCE = timedelta(seconds=30)
"""For the server's answers: the machine of a test may be busy."""

_SERVERS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="servers")


def pytest_configure() -> None:
    """Keep tracebacks plain."""
    plain_logs()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the address of a PostgreSQL that runs for the whole session."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=shared_folder()))
    folder.chmod(0o711)  # the server may run as another user
    give_empty_cluster(folder / "data")
    run = run_folder(folder)
    server = EmbeddedPostgres(folder / "data", run, options=_FAST)
    yield from _running(server)
    for each in (run, folder):
        shutil.rmtree(each, ignore_errors=True)


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """Give the address of a MongoDB, a set of one, that runs for the whole session; skips where there is no ``mongod``."""
    folder = Path(tempfile.mkdtemp(prefix="mongodb-", dir=shared_folder()))
    try:
        server = EmbeddedMongo(folder, free_ports(1))
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    yield from _running(server)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Valkey that runs for the whole session."""
    folder = tmp_path_factory.mktemp("valkey")
    run = run_folder(folder)
    server = EmbeddedValkey(folder / "data", run, options={"appendonly": "no"})
    yield from _running(server)
    shutil.rmtree(run, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """Give a Valkey Cluster of three masters that runs for the whole session."""
    made = ValkeyCluster(tmp_path_factory.mktemp("valkey-cluster"), replicas=0)
    try:
        _finish(made.start())
        yield made
    finally:
        _finish(made.stop())


@pytest.fixture(scope="session")
def vault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["VaultServer"]:
    """Give an OpenBao that runs for the whole session; 100 MB."""
    from stylobate.testing.vault import VaultServer  # noqa: PLC0415  slow to import, and an extra

    made = VaultServer(tmp_path_factory.mktemp("vault"))
    for _ in _running(made.server):
        yield made


@pytest.fixture
def vault(vault_server: "VaultServer") -> Iterator["VaultServer"]:
    """Give it unsealed; it is unsealed afterwards, whatever the test did."""
    yield vault_server
    vault_server.unseal()


@pytest.fixture
def server_run(tmp_path: Path) -> Iterator[Path]:
    """Give a run folder for servers of this test's own; it is removed afterwards."""
    folder = run_folder(tmp_path)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class DatabaseFor(Protocol):
    """What the fixture ``database_for`` gives."""

    async def __call__(self, service: str, *sets: MigrationSet, pool_size: int = 10) -> DatabaseManager:
        """Return the service's manager on a fresh, migrated database; both are gone after the test.

        Called again with the same service within a test: another manager (another process, so to say) on the same one.
        """


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Databases:
    """Give the maker of fresh databases."""
    return Databases(postgres_url)


@pytest_asyncio.fixture
async def database_for(databases: Databases) -> AsyncIterator[DatabaseFor]:
    """Give a factory of DatabaseManagers on databases of this test alone."""
    urls: dict[str, str] = {}
    async with AsyncExitStack() as stack:

        async def open_one(service: str, *sets: MigrationSet, pool_size: int = 10) -> DatabaseManager:
            if service not in urls:
                urls[service] = await stack.enter_async_context(databases.fresh(service, *sets))
            limits = Limits(_PATIENCE, _PATIENCE, _PATIENCE)
            manager = DatabaseManager.open(
                urls[service], service=service, pool_size=pool_size, connect_timeout=_PATIENCE, limits=limits
            )
            return await stack.enter_async_context(manager)

        yield open_one


class MongoFor(Protocol):
    """What the fixture ``mongo_for`` gives."""

    async def __call__(self, service: str, *sets: MigrationSet, pool_size: int = 10) -> "MongoManager":
        """Return the service's manager on a fresh, migrated database; see DatabaseFor."""


@pytest.fixture(scope="session")
def mongo_databases(mongo_url: str) -> Iterator["MongoDatabases"]:
    """Give the maker of fresh databases on MongoDB."""
    from stylobate.testing.mongodb import MongoDatabases  # noqa: PLC0415  its driver

    made = MongoDatabases(mongo_url)
    yield made
    made.close()


@pytest_asyncio.fixture
async def mongo_for(mongo_databases: "MongoDatabases") -> AsyncIterator[MongoFor]:
    """Give a factory of MongoManagers on databases of this test alone."""
    from stylobate.database.mongodb import MongoManager  # noqa: PLC0415  its driver

    urls: dict[str, str] = {}
    async with AsyncExitStack() as stack:

        async def open_one(service: str, *sets: MigrationSet, pool_size: int = 10) -> "MongoManager":
            if service not in urls:
                urls[service] = await stack.enter_async_context(mongo_databases.fresh(service, *sets))
            limits = Limits(_PATIENCE, _PATIENCE, _PATIENCE)
            manager = MongoManager.open(
                urls[service], service=service, pool_size=pool_size, connect_timeout=_PATIENCE, limits=limits
            )
            return await stack.enter_async_context(manager)

        yield open_one


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisManager]:
    """Give a RedisManager on an empty database."""
    async with RedisManager.open(redis_url) as manager:
        await manager.call("FLUSHALL")
        yield manager


@pytest_asyncio.fixture
async def redis_cluster(valkey_cluster: ValkeyCluster) -> AsyncIterator[RedisManager]:
    """Give a RedisManager on an empty Cluster."""
    await valkey_cluster.flush()
    async with RedisManager.open(valkey_cluster.url) as manager:
        yield manager


def _running(server: EmbeddedServer) -> Iterator[str]:
    async def up() -> None:
        await server.start()
        await server.ready()

    try:
        _finish(up())
        yield server.url
    finally:
        _finish(server.stop())


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run in a loop of its own: session fixtures outlive the loop of each test, and may be asked for while one turns.

    The thread stays for as long as the process: servers end with the thread that started them.
    """
    _SERVERS.submit(asyncio.run, work).result()
