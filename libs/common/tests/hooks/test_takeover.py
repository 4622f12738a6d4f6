"""Hooks whose process is killed, and hooks that read a log across a real connection."""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from stylobate.database import DatabaseManager, MigrationSet
from stylobate.hooks import HooksManager
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Event, Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox
from stylobate.redis import RedisManager
from stylobate.rpc import CallerChannel, build_server, open_channel
from stylobate.testing.databases import Databases
from stylobate.testing.until import until

LEASES = MigrationSet.of("leases", "stylobate.leases")


async def line(process: asyncio.subprocess.Process, begin: bytes) -> bytes:
    """Return the next line of the process that begins so; its log is passed over."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while not (text := await process.stdout.readline()).startswith(begin):
            assert process.returncode is None
    return text


async def test_killed_process_is_followed_by_another(
    databases: Databases, redis_url: str, redis: RedisManager, start: Any, served: Any
) -> None:
    """After a kill -9 amid a run another process follows in seconds: what was not finished runs again, what was does not."""
    async with (
        databases.fresh("state", LEASES, MigrationSet.of("outbox", "stylobate.outbox")) as state_url,
        databases.fresh("actions", LEASES, MigrationSet.of("hooks", "stylobate.hooks")) as actions_url,
        DatabaseManager.open(state_url, service="state") as state,
        DatabaseManager.open(actions_url, service="actions") as actions,
    ):
        leases = LeaseManager(PostgresLeaseStore(state), "state-1", timedelta(seconds=1))
        relay = Relay(PostgresEventLog(state, "state"), PostgresNumbering(state, "state"), leases, redis)
        relaying = asyncio.create_task(relay.run())

        async def write(subject: str) -> str:
            event = Event.new("state.orders.changed", subject, {})
            async with state.transaction() as connection:
                await PostgresOutbox("state").append(connection, [event], stream="orders")
            relay.wake()
            return event.id

        script = Path(__file__).with_name("hook_process.py")
        doomed = await asyncio.create_subprocess_exec(
            sys.executable, str(script), state_url, actions_url, redis_url, stdout=asyncio.subprocess.PIPE
        )
        await line(doomed, b"ready")
        finished = await write("done")
        await line(doomed, b"began " + finished.encode())
        moved = "select count(*) from hook_position where number > 0"
        await until(lambda: actions.fetchval(moved), within_s=60)
        unfinished = await write("hangs")
        await line(doomed, b"began " + unfinished.encode())
        waiting = await write("hangs")
        doomed.kill()
        await doomed.wait()

        heard: list[str] = []

        async def keep(event: Event) -> None:
            heard.append(event.id)

        async with served(state, redis) as channel:
            leases = LeaseManager(PostgresLeaseStore(actions), "next", timedelta(seconds=1))
            hooks = HooksManager(redis, store=PostgresHookStore(actions), leases=leases, channel=lambda _: channel)
            hooks.on("state.orders.changed", keep, name="h")
            stop = await start(hooks)
            await until(lambda: len(heard) == 2, within_s=10)
            assert heard == [unfinished, waiting]
            await stop()
        relaying.cancel()
        await asyncio.wait([relaying])


async def test_log_across_a_real_connection(
    source: Any, manager: Callable[..., HooksManager], start: Any, tmp_path: Path
) -> None:
    """Over gRPC, with connections cut every second and the server restarted, each event comes once and in order."""
    address = f"unix:{tmp_path}/state.sock"
    age = timedelta(seconds=1)

    async def serve() -> Any:
        server = build_server(source.servicers, addresses=[address], max_connection_age=age, grace=timedelta(milliseconds=100))
        await server.start()
        return server

    server = await serve()
    channel = open_channel(address)
    heard: list[str] = []

    async def keep(event: Event) -> None:
        heard.append(event.id)

    hooks = manager(channel=CallerChannel(channel, None))
    hooks.on("state.orders.changed", keep, name="h")
    stop = await start(hooks)
    written: list[str] = []

    def all_heard() -> bool:
        return heard == written

    for turn in range(12):
        written.extend([event.id for event in await source.write("same")])
        await until(all_heard)
        if turn == 5:
            await server.stop(0)
            written.extend([event.id for event in await source.write("same", "same")])
            server = await serve()
        await asyncio.sleep(0.25)  # so that connections grow too old between events
    await until(all_heard)
    assert len(heard) == 14
    await stop()
    await channel.close()
    await server.stop(0)
