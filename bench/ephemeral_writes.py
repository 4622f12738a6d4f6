"""P17: transitions in an ephemeral namespace beside the same in a durable one, through one manager, in the same rounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from statistics import median

import psutil
import uvloop
from stylobate.app.storage import PostgresStorage
from stylobate.database import DatabaseManager, Migrator
from stylobate.launcher.embedded import EmbeddedPostgres, EmbeddedValkey
from stylobate.redis import RedisManager
from stylobate.testing.logs import plain_logs
from stylobate_state.spec import SPEC
from stylobate_state.store.redis import RedisStateStore

from bench.processes import lasting
from bench.report import Report, Target
from bench.servers import embedded
from bench.transitions import IN_FLIGHT, LAMPS, Batched, Round, fill, managed, one_round

_TTL = timedelta(minutes=30)
_SPARKS = replace(LAMPS, name="sparks", ttl=_TTL)
_SIDES = {"durable": LAMPS.name, "ephemeral": _SPARKS.name}


@contextlib.asynccontextmanager
async def _opened(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> AsyncIterator[dict[str, Batched]]:
    await Migrator(postgres.url, "state", SPEC.migrations).upgrade()
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(DatabaseManager.open(postgres.url, service="state"))
        redis = await stack.enter_async_context(RedisManager.open(valkey.url))
        declared = {one.name: one for one in (LAMPS, _SPARKS)}
        apart = {_SPARKS.name: RedisStateStore(redis, _SPARKS.name, _TTL)}
        there = await stack.enter_async_context(managed(PostgresStorage(database), redis, declared, apart))
        await fill(there.manager, [(name, f"batched-{number}") for name in declared for number in range(IN_FLIGHT)])
        yield {name: Batched(there.manager, namespace) for name, namespace in _SIDES.items()}


async def _measure(rounds: int, seconds: float) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {}
    async with embedded(EmbeddedPostgres) as postgres, embedded(EmbeddedValkey) as valkey, _opened(postgres, valkey) as sides:
        server = psutil.Process(postgres.process.pid)
        for number in range(-1, rounds):  # the first is for warming up
            for name, side in sides.items() if number % 2 else reversed(sides.items()):
                for in_flight, told in ((IN_FLIGHT, name), (1, f"{name}, nothing else in flight")):
                    one = await one_round(side, lasting(number, seconds), server, in_flight)
                    if number >= 0:
                        found.setdefault(told, []).append(one)
    return found


def measure(rounds: int, seconds: float) -> Report:
    """P17."""
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measure(rounds, seconds))
    report = Report(
        "P17", f"ephemeral and durable transitions, {IN_FLIGHT} in flight", ("namespace", "events/s", "client CPU us")
    )
    for name in sorted(found):
        report.rows.append((name, median(one.rate for one in found[name]), median(one.client_us for one in found[name])))
    ratio = median(fast.rate / slow.rate for fast, slow in zip(found["ephemeral"], found["durable"], strict=True))
    report.targets.append(Target("ephemeral events/s against durable ones", ratio, 3.0, at_least=True))
    report.raw = {name: [one._asdict() for one in some] for name, some in found.items()}
    report.notes.append(f"medians of {rounds} alternating rounds of {seconds:g} s")
    return report
