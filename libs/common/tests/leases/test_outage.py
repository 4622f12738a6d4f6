"""Leases while the database is away."""

import asyncio
from datetime import timedelta

from stylobate.database import DatabaseManager, MigrationSet, Migrator
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.testing.cluster import give_empty_cluster


async def test_work_stops_when_the_lease_cannot_be_renewed(tmp_path, server_run):
    """Without the database a holder cannot know whether it still holds: it stops before its time is over, and goes on later."""
    give_empty_cluster(tmp_path / "postgres")
    server = EmbeddedPostgres(tmp_path / "postgres", server_run, options={"fsync": "off"})
    await server.start()
    await server.ready()
    await Migrator(server.url, "shop", [MigrationSet.of("leases", "stylobate.leases")]).upgrade()
    begun, stopped = asyncio.Queue(), asyncio.Queue()

    async def work(lease):
        begun.put_nowait(lease.token)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.put_nowait(asyncio.get_running_loop().time())

    ttl = timedelta(seconds=1)
    try:
        async with DatabaseManager.open(server.url, service="shop") as database:
            task = asyncio.create_task(LeaseManager(PostgresLeaseStore(database), "one", ttl).run("relay", work))
            assert await begun.get() == 1
            server.process.kill()
            killed = asyncio.get_running_loop().time()
            await server.process.wait()
            async with asyncio.timeout(60):
                assert await stopped.get() - killed < ttl.total_seconds() + 0.5
                await server.start()
                await server.ready()
                assert await begun.get() == 2
            task.cancel()
            await asyncio.wait([task])
    finally:
        await server.stop()
