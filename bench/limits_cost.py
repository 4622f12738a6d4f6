"""P12: what limits cost a request, and what a limited subject costs Valkey.

The same action three times: charged on nothing, on what every request is charged on (address, user, the action), and on five
rules of a file beside that. The figure is throughput with limits against that without.
"""

import asyncio
import contextlib
import tempfile
from datetime import timedelta
from pathlib import Path
from statistics import median

from stylobate.launcher.embedded import EmbeddedValkey
from stylobate.redis import RedisManager
from stylobate_ratelimit.model import Algorithm, CheckGroup, LevelSet, Limit
from stylobate_ratelimit.store.redis import RedisLimitStore

from bench.contenders import USERS, Contender, action
from bench.http_action import Round, Scene, measured
from bench.processes import Load, lasting
from bench.report import Report, Target
from bench.servers import embedded

SUBJECTS = 100_000
_SCENES = (Scene("8", 8), Scene("32", 32))
_FREE, _LIMITED, _RULED = "without limits", "address, user, action", "and five rules of a file"
_BATCH = 250
_RULES = "limits:\n" + "".join(
    f"  site.rule{number}: {{ limit: 1000000/second gcra, per: {per}, match: {{ action: 'bench.*' }} }}\n"
    for number, per in enumerate(("user", "session", "ip", "tenant", "global"))
)


def measure(rounds: int, seconds: int) -> Report:
    """Measure both."""
    report = Report("P12", "what limits cost", ("what", "connections", "req/s", "CPU us/req", "stores us/req", "req/s ratio"))
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        file = Path(enter(tempfile.TemporaryDirectory())) / "limits.yaml"
        file.write_text(_RULES)
        contenders = [
            enter(action(_FREE, called="price_unlimited", environment={"STYLOBATE_GATEWAY_EDGE_LIMITS": "false"})),
            enter(action(_LIMITED)),
            enter(action(_RULED, environment={"STYLOBATE_LIMITS_FILE": str(file)})),
        ]
        found = _race(contenders, enter(Load.open()), rounds, seconds)
    for (scene, name), one in found.items():
        middle = [median(getattr(each, column) for each in one) for column in ("rate", "cpu_us", "stores_us")]
        report.rows.append((name, scene, *middle, _ratio(found, scene, name)))
    weights = asyncio.run(_weights())
    report.rows += [(f"{what}, bytes of Valkey a subject", "", each, "", "", "") for what, each in weights.items()]
    report.targets.append(Target("throughput with limits, 32 connections", _ratio(found, "32", _LIMITED), 0.85, at_least=True))
    report.notes.append(f"medians of {rounds} alternating rounds, {USERS} users; memory for {SUBJECTS:,} subjects")
    report.raw = {f"{name}, {scene}": [each._asdict() for each in one] for (scene, name), one in found.items()} | {
        "bytes": weights
    }
    return report


def _race(contenders: list[Contender], load: Load, rounds: int, seconds: int) -> dict[tuple[str, str], list[Round]]:
    found: dict[tuple[str, str], list[Round]] = {(scene.name, one.name): [] for scene in _SCENES for one in contenders}
    for scene in _SCENES:
        for number in range(-1 if scene is _SCENES[0] else 0, rounds):  # the first is for warming up
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                one = measured(contender, scene, load, lasting(number, seconds))
                if number >= 0:
                    found[scene.name, contender.name].append(one)
    return found


def _ratio(found: dict[tuple[str, str], list[Round]], scene: str, name: str) -> float:
    pairs = zip(found[scene, name], found[scene, _FREE], strict=True)
    return median(one.rate / other.rate for one, other in pairs)


async def _weights() -> dict[str, float]:
    """Return the bytes that a subject takes in Valkey, by how it is counted."""
    hour = timedelta(hours=1)
    ways = {
        "gcra": (Limit("orders.gcra", Algorithm.GCRA, 1000, hour), 500),  # what is full again is forgotten
        "window, one charge": (Limit("orders.window", Algorithm.WINDOW, 1000, hour), 1),
        "window, ten charges": (Limit("orders.window", Algorithm.WINDOW, 1000, hour), 10),
    }
    found = {}
    async with embedded(EmbeddedValkey) as valkey, RedisManager.open(valkey.url) as redis:
        store = RedisLimitStore(redis, timedelta(seconds=30))
        for what, (limit, charges) in ways.items():
            await redis.call("FLUSHALL", "SYNC")
            before = await _used(redis)
            levels = LevelSet((limit,), ("default",))
            for start in range(0, SUBJECTS, _BATCH):
                subjects = [f"01a20883-0000-7000-8000-{number:012d}" for number in range(start, start + _BATCH)]
                await store.charge([CheckGroup(levels, subjects, [charges] * _BATCH)])
            found[what] = (await _used(redis) - before) / SUBJECTS
    return found


async def _used(redis: RedisManager) -> int:
    info: bytes = await redis.call("INFO", "memory")
    lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return int(lines["used_memory"])
