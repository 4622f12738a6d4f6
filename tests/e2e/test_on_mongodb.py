"""The whole platform on a MongoDB of its own."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.launcher.demo import Journey
from stylobate.launcher.embedded import EmbeddedServerError
from stylobate.launcher.embedded.mongodb import binary
from stylobate.testing.platform import Platform

from tests.conftest import SHOP

_WITHIN = timedelta(seconds=60)


@pytest.fixture(scope="module")
def on_mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a platform whose five services that keep something do so in MongoDB."""
    try:
        binary()
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    with Platform.run(tmp_path_factory.mktemp("mongodb"), "--database", "mongodb", modules=[SHOP]) as running:
        yield running


async def test_the_journey_holds_before_and_after_the_server_was_killed(on_mongodb: Platform) -> None:
    """Every step of it, twice; nothing else runs, and what was acknowledged before the kill is told afterwards, sealed."""
    assert "postgres" not in on_mongodb.children
    journeys = [Journey(on_mongodb.gateway, on_mongodb.realtime) for _ in range(2)]
    first = [title async for title, _ in journeys[0].play()]
    on_mongodb.kill("mongodb")
    on_mongodb.wait_healthy(_WITHIN)
    assert [title async for title, _ in journeys[1].play()] == first
    assert len(journeys[0].acknowledged.orders) == len(journeys[1].acknowledged.orders) == 30
    listed = on_mongodb.command("states", "export", "orders")
    assert listed.returncode == 0, listed.stderr
    assert all(order in listed.stdout for journey in journeys for order in journey.acknowledged.orders)
    verified = on_mongodb.command("audit", "verify")
    assert verified.returncode == 0, verified.stdout


def test_what_hooks_have_done_is_told(on_mongodb: Platform) -> None:
    """While the platform runs: where they stand, and that a log begins an epoch."""
    listed = on_mongodb.command("hooks", "list")
    assert (listed.returncode, "shop.push/state.orders.*  state  " in listed.stdout) == (0, True), listed.stderr
    letters = on_mongodb.command("events", "dead", "list")
    assert (letters.returncode, letters.stdout) == (0, "no dead letters\n"), letters.stderr
    restored = on_mongodb.command("db", "restored", "state")
    assert (restored.returncode, restored.stdout.startswith("state: epoch ")) == (0, True), restored.stderr


def test_what_operators_ask_is_answered(on_mongodb: Platform, tmp_path: Path) -> None:
    """A backup while it runs; rights for a user that is not there are refused in one line."""
    taken = on_mongodb.command("backup", str(tmp_path / "backup"))
    assert (taken.returncode, taken.stdout.count(" tables, ")) == (0, 5), taken.stderr
    granted = on_mongodb.command("db", "upgrade", "--grant-to", "bob")
    assert (granted.returncode, 'Could not find user "bob"' in granted.stderr) == (2, True), granted.stderr
    status = on_mongodb.command("db", "status")
    assert (status.returncode, status.stdout.count("up to date")) == (0, 5)
