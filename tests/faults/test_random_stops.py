"""The services of a process, started and stopped at random moments: none hangs."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.app import HostSettings, Placement
from stylobate.app.host import Host
from stylobate.config import Sources
from stylobate.identity.service_keys import generate_service_keys
from stylobate.services import installed_services
from stylobate.stopping import end
from stylobate.testing.databases import Databases

from tests.conftest import SHOP


@pytest.fixture
async def url(databases: Databases) -> AsyncIterator[str]:
    """Give an empty database; the first start migrates it."""
    async with databases.empty() as made:
        yield made


async def stop_at_random(folder: Path, url: str, redis_url: str, times: int, chance: random.Random) -> None:
    """Host everything and stop by one cancellation, so often, at random moments of the start and after it."""
    specs = installed_services()
    generate_service_keys(folder / "identity", tuple(specs))
    environ = {
        "STYLOBATE_IDENTITY_FOLDER": str(folder / "identity"),
        "STYLOBATE_MODULES": str(SHOP.parent),
        "STYLOBATE_DATABASE_URL": url,
        "STYLOBATE_REDIS_URL": redis_url,
        "STYLOBATE_DRAIN_WAIT": "0s",
        "STYLOBATE_DRAIN_GRACE": "1s",
    }
    sources = Sources(environ=environ, folders=(), generated=folder / "secrets")
    settings = HostSettings.load(sources)
    ready = 0

    async def run(number: int) -> None:
        nonlocal ready
        placement = Placement(services=tuple(specs), http="127.0.0.1:0", node=f"n{number}", data=folder)
        async with Host.open(specs, placement, settings, sources):
            ready += 1
            await asyncio.Event().wait()

    for number in range(times):
        task = asyncio.create_task(run(number), name=f"host {number}")
        # every fourth may get ready, the others are stopped in their start
        await asyncio.wait([task], timeout=chance.uniform(0, 1.5 if number % 4 else 6.0))
        assert await end([task], within=timedelta(seconds=60), again_s=3600), f"stop {number} hangs"
        assert task.cancelled(), task.exception()
    print(f"{times} stops, {ready} of them of a ready platform")  # noqa: T201  the figure


@pytest.mark.soak
@pytest.mark.timeout(3000)
async def test_many_stops_of_everything_at_any_moment_end(tmp_path: Path, url: str, redis_url: str) -> None:
    """Some hundreds of them."""
    await stop_at_random(tmp_path, url, redis_url, 300, random.Random())
