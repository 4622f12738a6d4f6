"""State on MongoDB, everything else on PostgreSQL: one order explains all that clients are told, whatever is killed meanwhile."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stylobate.launcher.embedded import EmbeddedMongo, EmbeddedServerError
from stylobate.testing.platform import Platform
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

from tests.conftest import ROOT
from tests.faults.cells import Cells
from tests.faults.test_serializability import WITHIN


class Mongod:
    """A server that a test kills and starts again on the same data."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedMongo(folder, free_ports(1))
        self._thread = ThreadPoolExecutor(1)  # a server ends with the thread that started it
        self.url = self._server.url

    def start(self) -> None:
        """Start it, and wait until it takes writes."""

        async def up() -> None:
            await self._server.start()
            await self._server.ready()

        self._thread.submit(asyncio.run, up()).result()

    def kill(self) -> None:
        """Kill it with SIGKILL."""

        async def down() -> None:
            self._server.process.kill()
            await self._server.process.wait()

        self._thread.submit(asyncio.run, down()).result()

    def stop(self) -> None:
        """End it."""
        self._thread.submit(asyncio.run, self._server.stop()).result()
        self._thread.shutdown()


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """Give a running server."""
    try:
        server = Mongod(tmp_path_factory.mktemp("mongod"))
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def platform(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a split platform whose state is kept there."""
    environ = {
        "STYLOBATE_STATE_DATABASE_URL": mongod.url,
        "STYLOBATE_RATELIMIT_EDGE_IP": "6000/second",
        "STYLOBATE_RATELIMIT_EDGE_USER": "6000/second",
    }
    folder, cells = tmp_path_factory.mktemp("cells"), ROOT / "tests" / "modules" / "cells"
    with Platform.run(folder, "--split", modules=[cells], environ=environ) as running:
        yield running


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_one_order_explains_all_answers(platform: Platform, mongod: Mongod, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight clients on three objects; the service, its Valkey and its MongoDB are killed -9 in turns."""
    rounds = 4
    with Cells(platform, clients=8) as cells:
        for victim in ("state", "mongodb", "valkey", "mongodb") * rounds:
            goal = len(cells) + 40
            if victim == "mongodb":
                mongod.kill()
                mongod.start()
            else:
                killed = platform.kill(victim)
                assert wait_until(
                    lambda k=killed, v=victim: (c := platform.children.get(v)) is not None and c.pid != k.pid, WITHIN
                )
            assert wait_until(lambda goal=goal: len(cells) >= goal, WITHIN), cells.met
    said = cells.check()
    with capsys.disabled():
        print(f"\n{4 * rounds} kills; {said}; violations: 0")  # noqa: T201  the figures
