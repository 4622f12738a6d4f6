"""Nobody waits in vain: readers of a log after a burst and silence, and subjects beside one that fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from time import monotonic

import grpc.aio
import pytest
from stylobate.api.events.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from stylobate.database import MigrationSet
from stylobate.hooks import HooksManager
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Event, EventServicer, Relay, partition_of
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox
from stylobate.outbox.watch import LogWatch
from stylobate.redis import RedisManager
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers
from stylobate.rpc.interceptors import CallInterceptor
from stylobate.stopping import end
from stylobate.testing.fixtures import DatabaseFor
from stylobate.testing.until import until

READERS, BURSTS = 30, 1000
HOOK_SECONDS = 30
LEASES, OUTBOX, HOOKS = (MigrationSet.of(name, f"stylobate.{name}") for name in ("leases", "outbox", "hooks"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


def figures(what: str, seconds: list[float]) -> None:
    """Print how long things took."""
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99)]
    values = {"median": median(ordered), "p99": p99, "max": ordered[-1]}
    told = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in values.items())
    print(f"\n{what}: {len(ordered)}, {told}")  # noqa: T201  the figure


@asynccontextmanager
async def running(task: "asyncio.Task[None]") -> AsyncIterator[None]:
    """Keep it going."""
    try:
        yield
    finally:
        await end([task])


async def test_every_reader_hears_every_burst(database_for: DatabaseFor, redis: RedisManager) -> None:
    """30 readers, 1,000 bursts with silence behind each: every reader has heard each burst within a second."""
    database = await database_for("state", LEASES, OUTBOX)
    log, outbox, watch = PostgresEventLog(database, "state"), PostgresOutbox("state"), LogWatch()
    grown = watch.add(log)
    relay = Relay(
        PostgresEventLog(database, "state"),
        PostgresNumbering(database, "state"),
        LeaseManager(PostgresLeaseStore(database), "soak"),
        redis,
        on_numbered=grown,
    )
    everywhere = list(range(16))
    positions = [await log.head()] * READERS
    took: list[float] = []

    async def hear(reader: int, ids: set[str]) -> None:
        began = monotonic()
        while ids:
            moved = await watch.beyond("state", positions[reader], everywhere, None)
            page = await log.read(positions[reader], moved)
            positions[reader] = page.position
            ids -= {logged.event.id for logged in page.events}
        took.append(monotonic() - began)

    async with running(asyncio.create_task(relay.run())):
        for burst in range(BURSTS):
            events = [Event.new("state.a.b", f"s{burst}-{number}", {}) for number in range(1 + burst % 3)]
            hearing = [asyncio.create_task(hear(reader, {event.id for event in events})) for reader in range(READERS)]
            async with database.transaction() as connection:
                await outbox.append(connection, events, stream="a")
            relay.wake()
            _, deaf = await asyncio.wait(hearing, timeout=60)
            assert not deaf, f"{len(deaf)} of {READERS} readers never heard burst {burst}"
            await asyncio.gather(*hearing)
    await watch.close()
    late = [one for one in took if one > 1.0]
    figures("heard bursts", took)
    print(f"later than a second: {len(late)}")  # noqa: T201  the figure
    assert not late


async def test_a_hook_that_fails_for_one_subject_delays_no_other(database_for: DatabaseFor, redis: RedisManager) -> None:
    """From commit to hook for the neighbours of a subject that fails all the time, beside those of a quiet partition."""
    state, actions = await database_for("state", LEASES, OUTBOX), await database_for("actions", LEASES, HOOKS)
    log, outbox = PostgresEventLog(state, "state"), PostgresOutbox("state")
    bad, *neighbours = [name for name in (f"s{number}" for number in range(2000)) if partition_of("default", name) == 3][:20]
    strangers = [name for name in (f"s{number}" for number in range(2000)) if partition_of("default", name) == 4][:20]
    written: dict[str, float] = {}
    took: dict[str, list[float]] = {"beside a subject that fails": [], "in another partition": []}

    async def hook(event: Event) -> None:
        if event.subject == bad:
            raise KeyError("poison")
        kind = "beside a subject that fails" if event.subject in neighbours else "in another partition"
        took[kind].append(monotonic() - written[event.id])

    async with AsyncExitStack() as stack:
        servicer = await stack.enter_async_context(EventServicer.open(redis))
        servicers = Servicers([CallInterceptor()])
        servicers.register(add_EventServiceServicer_to_server, servicer)
        server = LocalServer(servicers)
        await server.start()
        stack.push_async_callback(server.stop)
        channel: grpc.aio.Channel = CallerChannel(LocalChannel(server), None)
        relay = Relay(
            PostgresEventLog(state, "state"),
            PostgresNumbering(state, "state"),
            LeaseManager(PostgresLeaseStore(state), "s"),
            redis,
            on_numbered=servicer.add(log),
        )
        hooks = HooksManager(
            redis,
            store=PostgresHookStore(actions),
            leases=LeaseManager(PostgresLeaseStore(actions), "a"),
            channel=lambda _: channel,
        )
        hooks.on("state.a.b", hook, name="h")
        await stack.enter_async_context(running(asyncio.create_task(relay.run())))
        await stack.enter_async_context(running(asyncio.create_task(hooks.run())))
        await hooks.ready()
        ends_at, turn, expected = monotonic() + HOOK_SECONDS, 0, 0
        while monotonic() < ends_at:
            turn += 1
            subjects = (bad, neighbours[turn % len(neighbours)], strangers[turn % len(strangers)])
            events = [Event.new("state.a.b", subject, {}) for subject in subjects]
            expected += 2
            written.update((event.id, monotonic()) for event in events)
            async with state.transaction() as connection:
                await outbox.append(connection, events, stream="a")
            relay.wake()
            await asyncio.sleep(0.02)
        await until(lambda: sum(map(len, took.values())) >= expected, within_s=60)
    for kind, seconds in took.items():
        figures(kind, seconds)
