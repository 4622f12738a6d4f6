"""P3: rate-limit checks at the batch RPC, three levels each, through the batching client that the gateway uses.

Client, channel with its interceptors, servicer and manager are in this process, counted together; Valkey is a process beside it.
A caller is a user at an address of his own and has one check under way. After each round a tight limit is run into by all of
them at once: what it lets through is counted, and one check too many or too few ends the benchmark.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

import psutil
import uvloop
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import add_RateLimitServiceServicer_to_server
from stylobate.app.memory_app import RolePermissions
from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limits import LimitsClient
from stylobate.declarations import Declarations
from stylobate.launcher.embedded import EmbeddedValkey
from stylobate.redis import RedisManager
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers, standard_interceptors
from stylobate.rpc.interceptors import RpcMetrics
from stylobate_ratelimit.ban_list import BanList
from stylobate_ratelimit.ban_manager import BanManager
from stylobate_ratelimit.convert import from_level
from stylobate_ratelimit.main import limit_store
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.servicer import RateLimitServicer
from stylobate_ratelimit.settings import RateLimitSettings
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.usage_manager import UsageManager

from bench.callers import Services, Users
from bench.processes import cpu_seconds, lasting
from bench.report import Report, Target
from bench.servers import embedded

CALLERS = (32, 256)
TARGETS = {("gcra", 32): 30_000.0, ("gcra", 256): 50_000.0, ("window", 32): 15_000.0, ("window", 256): 25_000.0}
_TIGHT = 100
"""What the tight limit lets through."""
_numbers = count()


class Round(NamedTuple):
    """What a round came to."""

    rate: float
    """Checks a second."""
    cpu_us: float
    """Of this process, per check."""
    valkey_us: float


class Bench(NamedTuple):
    """A client, and the servers that it makes count."""

    client: LimitsClient
    servers: Sequence[psutil.Process]

    async def round(self, algorithm: str, callers: int, seconds: float) -> Round:
        """Check without a pause and see whether the answers are exact."""
        limit, period = (1_000_000, timedelta(seconds=1)) if algorithm == "gcra" else (1000, timedelta(milliseconds=500))
        levels = _levels(algorithm, limit, period)
        begun, cpu, valkey = perf_counter(), process_time(), sum(map(cpu_seconds, self.servers))
        until = begun + seconds
        checks = sum(await asyncio.gather(*(self._keep_on(levels, number, until) for number in range(callers))))
        found = Round(
            checks / (perf_counter() - begun),
            (process_time() - cpu) / checks * 1e6,
            (sum(map(cpu_seconds, self.servers)) - valkey) / checks * 1e6,
        )
        await self._run_into(_levels(algorithm, _TIGHT, timedelta(days=1)), callers)
        return found

    async def _keep_on(self, levels: tuple[LevelSpec, ...], caller: int, until: float) -> int:
        subjects = (f"10.0.0.{caller}", f"user-{caller}", f"user-{caller}")
        checks = 0
        while perf_counter() < until:
            outcome = await self.client.check(levels, subjects)
            if not outcome.allowed or outcome.degraded:
                raise RuntimeError(f"a limit that is wide was reached, or not counted: {outcome.policy}")
            checks += 1
        return checks

    async def _run_into(self, levels: tuple[LevelSpec, ...], callers: int) -> None:
        """Let all callers run into one limit at once. Raises RuntimeError when it is not exact."""
        level, subject = levels[2:], (f"once-{next(_numbers)}",)
        tries = max(callers, 2 * _TIGHT)
        outcomes = await asyncio.gather(*(self.client.check(level, subject) for _ in range(tries)))
        if (passed := sum(outcome.allowed for outcome in outcomes)) != _TIGHT:
            raise RuntimeError(f"a limit of {_TIGHT} let {passed} of {tries} through")


def _levels(algorithm: str, limit: int, period: timedelta) -> tuple[LevelSpec, ...]:
    names = (f"{level}.{algorithm}" for level in ("ip", "user", "action"))
    return tuple(LevelSpec.of_policy(name, limit, period, algorithm=algorithm) for name in names)


@contextlib.asynccontextmanager
async def opened(url: str, servers: Sequence[psutil.Process]) -> AsyncIterator[Bench]:
    """Give a client of a ratelimit service in this process, whose Redis is at the URL and runs in these processes."""
    settings = RateLimitSettings()
    async with RedisManager.open(url) as redis:
        stand_in = StandIn(MemoryLimitStore(most_subjects=settings.local_subjects), settings.on_redis_down)
        manager = RateLimiterManager(limit_store(redis, stand_in, settings.redis_timeout), stand_in, settings.rules)
        bans = BanList(clock=lambda: datetime.now(UTC))
        access = RolePermissions(Declarations())
        servicer = RateLimitServicer(
            manager,
            BanManager(access, bans),
            bans,
            UsageManager(access, manager, list, lambda spec: from_level(spec.message, manager.rule), lambda: bans.store),
        )
        services = Services()
        servicers = Servicers(standard_interceptors(Users(), services, metrics=RpcMetrics()))
        servicers.register(add_RateLimitServiceServicer_to_server, servicer, RateLimitServicer.ACCESS)
        server = LocalServer(servicers)
        await server.start()
        async with LimitsClient(CallerChannel(LocalChannel(server), services.token)) as client:
            yield Bench(client, servers)
        await server.stop()


async def _measure(rounds: int, seconds: float) -> dict[tuple[str, int], list[Round]]:
    found: dict[tuple[str, int], list[Round]] = {key: [] for key in TARGETS}
    async with embedded(EmbeddedValkey) as valkey, opened(valkey.url, [psutil.Process(valkey.process.pid)]) as bench:
        for number in range(-1, rounds):  # the first is for warming up
            for algorithm, callers in TARGETS:
                one = await bench.round(algorithm, callers, lasting(number, seconds))
                if number >= 0:
                    found[algorithm, callers].append(one)
    return found


def measure(rounds: int, seconds: float) -> Report:
    """P3."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measure(rounds, seconds))
    columns = ("limits", "callers", "checks/s", "CPU us/check", "Valkey us/check")
    report = Report("P3", "rate-limit checks at the batch RPC, three levels each", columns)
    for (algorithm, callers), some in found.items():
        middle = Round(*(median(column) for column in _columns(some)))
        report.rows.append((algorithm, callers, *middle))
        report.targets.append(
            Target(f"{algorithm}, {callers} callers", middle.rate, TARGETS[algorithm, callers], at_least=True, unit="checks/s")
        )
    report.raw = {f"{algorithm}, {callers}": [one._asdict() for one in some] for (algorithm, callers), some in found.items()}
    report.notes.append(
        f"medians of {rounds} rounds in turn; one process, callers included; after each round a limit of {_TIGHT} "
        f"let exactly {_TIGHT} through"
    )
    return report


def _columns(rounds: Sequence[Round]) -> Sequence[tuple[float, ...]]:
    return tuple(zip(*rounds, strict=True))
