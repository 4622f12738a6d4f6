"""The stores under test, and managers on them."""

from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio
from stylobate.database import MigrationSet
from stylobate.testing import FakeClock
from stylobate.testing.fixtures import DatabaseFor
from stylobate_state.store import StateStore
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.postgres import MIGRATIONS, PostgresStateStore

MIGRATION_SETS = (MigrationSet.of("outbox", "stylobate.outbox"), MIGRATIONS)
OpenStore = Callable[[], Awaitable[StateStore]]
"""Opens the store; called again, another one on the same data, as in another process."""


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock that stands."""
    return FakeClock()


@pytest.fixture(params=["memory", "postgres"])
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    """Give each adapter in turn."""
    if request.param == "memory":
        memory = MemoryStateStore(FakeClock())

        async def the_same() -> StateStore:
            return memory

        return the_same
    database_for: DatabaseFor = request.getfixturevalue("database_for")

    async def another() -> StateStore:
        return PostgresStateStore(await database_for("state", *MIGRATION_SETS))

    return another


@pytest_asyncio.fixture
async def store(open_store: OpenStore) -> StateStore:
    """Give one store of each adapter in turn."""
    return await open_store()
