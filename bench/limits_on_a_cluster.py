"""P24: rate-limit checks on a Redis Cluster of three masters against one server, three levels each, as in P3.

Client, channel, servicer and manager are in this process; the servers are processes beside it, their CPU counted with it: what
is compared is checks for a second of CPU, all processes together. A check has two subjects, an address and a user.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import psutil
import uvloop
from stylobate.launcher.embedded import EmbeddedValkey
from stylobate.testing.valkey_cluster import ValkeyCluster

from bench.limit_checks import CALLERS, Bench, Round, opened
from bench.processes import lasting
from bench.report import Report, Target
from bench.servers import embedded

_LEAST = 0.5
"""Of what one server does for a second of CPU."""
Found = dict[tuple[str, str, int], list[Round]]


@contextlib.asynccontextmanager
async def _both() -> AsyncIterator[dict[str, Bench]]:
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    try:
        async with (
            embedded(EmbeddedValkey) as valkey,
            ValkeyCluster.running(folder, replicas=0) as cluster,
            opened(valkey.url, [psutil.Process(valkey.process.pid)]) as one,
            opened(cluster.url, [psutil.Process(node.process.pid) for node in cluster.nodes]) as many,
        ):
            yield {"one server": one, "three masters": many}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(rounds: int, seconds: float) -> Found:
    found: Found = {}
    async with _both() as benches:
        for number in range(-1, rounds):  # the first is for warming up
            for algorithm in ("gcra", "window"):
                for callers in CALLERS:
                    for name, bench in benches.items():
                        one = await bench.round(algorithm, callers, lasting(number, seconds))
                        if number >= 0:
                            found.setdefault((name, algorithm, callers), []).append(one)
    return found


def measure(rounds: int, seconds: float) -> Report:
    """P24."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measure(rounds, seconds))
    columns = ("servers", "limits", "callers", "checks/s", "CPU us/check", "Valkey us/check")
    report = Report("P24", "rate-limit checks on a Redis Cluster", columns)
    for (name, algorithm, callers), some in found.items():
        middle = Round(*(median(column) for column in zip(*some, strict=True)))
        report.rows.append((name, algorithm, callers, *middle))
        if name == "three masters":
            ratio = median(
                _cost(one) / _cost(many) for one, many in zip(found["one server", algorithm, callers], some, strict=True)
            )
            report.targets.append(
                Target(f"{algorithm}, {callers} callers, for a second of CPU", ratio, _LEAST, at_least=True, unit="x one server")
            )
    report.raw = {", ".join(map(str, key)): [one._asdict() for one in some] for key, some in found.items()}
    report.notes.append(f"medians of {rounds} rounds in turn; one process, callers included; the masters have no replicas")
    return report


def _cost(one: Round) -> float:
    return one.cpu_us + one.valkey_us
