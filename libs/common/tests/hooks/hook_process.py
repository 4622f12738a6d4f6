"""A process that runs a hook which never ends: run by test_takeover.py, then killed."""

import asyncio
import sys
from datetime import timedelta

from stylobate.api.events.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from stylobate.database import DatabaseManager
from stylobate.hooks import HooksManager
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Event, EventServicer
from stylobate.outbox.postgres import PostgresEventLog
from stylobate.redis import RedisManager
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers


async def hang(event: Event) -> None:
    """Finish the events of the subject `done`; begin any other, and never end it."""
    print(f"began {event.id}", flush=True)  # noqa: T201  what the test waits for
    if event.subject != "done":
        await asyncio.Event().wait()


async def main(state_url: str, actions_url: str, redis_url: str) -> None:
    """Run until killed."""
    async with (
        DatabaseManager.open(state_url, service="state") as state,
        DatabaseManager.open(actions_url, service="actions") as actions,
        RedisManager.open(redis_url) as redis,
        EventServicer.open(redis, [PostgresEventLog(state, "state")]) as servicer,
    ):
        servicers = Servicers()
        servicers.register(add_EventServiceServicer_to_server, servicer)
        server = LocalServer(servicers)
        await server.start()
        channel = CallerChannel(LocalChannel(server), None)
        leases = LeaseManager(PostgresLeaseStore(actions), "doomed", timedelta(seconds=1))
        hooks = HooksManager(redis, store=PostgresHookStore(actions), leases=leases, channel=lambda _: channel)
        hooks.on("state.orders.changed", hang, name="h")
        running = asyncio.create_task(hooks.run())
        await hooks.ready()
        print("ready", flush=True)  # noqa: T201  what the test waits for
        await running


asyncio.run(main(*sys.argv[1:]))
