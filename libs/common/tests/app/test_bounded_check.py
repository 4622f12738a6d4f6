"""Health is told within a second or two, whatever hangs behind it."""

import asyncio
import signal
from pathlib import Path

from stylobate.database import DatabaseManager
from stylobate.health import BoundedCheck, Health, Status
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.until import until


async def test_a_frozen_database_is_told_at_once(server_run: Path, tmp_path: Path) -> None:
    """The first to ask waits no longer than the next, and the part is well again when the database is."""
    give_empty_cluster(tmp_path / "data")
    server = EmbeddedPostgres(tmp_path / "data", server_run)
    await server.start()
    try:
        await server.ready()
        async with DatabaseManager.open(server.url, service="probe", pool_size=2, use_role=False) as database:
            check = BoundedCheck(database.health)
            assert (await check.ask()).status is Status.HEALTHY
            process = server.process.record.process()
            frozen = [process, *process.children(recursive=True)]
            for one in frozen:
                one.send_signal(signal.SIGSTOP)
            try:
                async with asyncio.timeout(4):
                    found = [await check.ask() for _ in range(2)]
                assert {health.status for health in found} == {Status.UNHEALTHY}
            finally:
                for one in frozen:
                    one.send_signal(signal.SIGCONT)
            await until(check.ask, lambda found: found.status is Status.HEALTHY, within_s=60)
    finally:
        await server.stop()


async def test_a_check_that_hangs_is_asked_once() -> None:
    """Who asks meanwhile waits for the same answer; the next one begins afterwards."""
    may, asked = asyncio.Event(), 0

    async def check() -> Health:
        nonlocal asked
        asked += 1
        await may.wait()
        return Health()

    bounded = BoundedCheck(check)
    found = await asyncio.gather(*(bounded.ask() for _ in range(5)))
    assert {health.status for health in found} == {Status.UNHEALTHY}
    assert (await bounded.ask()).status is Status.UNHEALTHY
    assert asked == 1
    may.set()
    assert (await bounded.ask()).status is Status.HEALTHY
    assert (await bounded.ask()).status is Status.HEALTHY
    assert asked == 2


async def test_a_check_that_fails_is_an_answer() -> None:
    """Its error is told, also one that is not an ordinary exception."""

    async def failing() -> Health:
        raise ValueError("no")

    async def cancelled() -> Health:
        raise asyncio.CancelledError

    assert (await BoundedCheck(failing).ask()).details == "ValueError: no"
    assert (await BoundedCheck(cancelled).ask()).status is Status.UNHEALTHY
