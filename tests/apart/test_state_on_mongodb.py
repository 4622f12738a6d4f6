"""Objects stand in MongoDB and everything else in PostgreSQL, by the setting of one service."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from stylobate.database.mongodb.address import database_of, named
from stylobate.launcher.demo import Journey
from stylobate.testing.platform import Platform

from tests.conftest import SHOP

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def url(mongo_url: str) -> str:
    """Give where the objects are."""
    return named(mongo_url, "objects")


@pytest.fixture(scope="module")
def platform(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform on two kinds of database."""
    environ = {"STYLOBATE_STATE_DATABASE_URL": url}
    with Platform.run(tmp_path_factory.mktemp("two"), "--workers", "2", modules=[SHOP], environ=environ) as running:
        yield running


async def test_the_journey_holds_on_both(platform: Platform, url: str, tmp_path: Path) -> None:
    """Accounts log in from PostgreSQL and order into MongoDB; each database has its own alone, and commands know both."""
    journey = Journey(platform.gateway, platform.realtime)
    assert [title async for title, _ in journey.play()]
    assert "postgres" in platform.children
    with MongoClient(url) as client:
        assert [name for name in client.list_database_names() if name.startswith("objects")] == [database_of(url, "state")]
        orders = client[database_of(url, "state")]["state"].distinct("_id.key", {"_id.namespace": "orders"})
        assert set(journey.acknowledged.orders) <= set(orders)
    status = platform.command("db", "status")
    assert (status.returncode, status.stdout.count("up to date")) == (0, 5), status.stdout
    assert platform.command("config", "check").returncode == 0
    made = platform.command("backup", str(tmp_path / "backup"))
    assert (made.returncode, (tmp_path / "backup").exists()) == (0, True), made.stderr
