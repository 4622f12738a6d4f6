"""P1 and P2: an action over HTTP with everything that belongs to it, beside endpoints that do none of it.

The action is authenticated, permitted, charged at three levels in Valkey (ip, user, action), checked against a schema each
way and audited. What a batch costs is shared by those in it, so that few connections cost the most per request: each scene has
a number of connections, and one has eight actions and many addresses. Rounds alternate, so that a slow spell of the machine
hits everybody; CPU per request is what says most, since the load comes from the same machine. The platform's CPU is that of its
Python processes; Valkey and PostgreSQL stand in a column of their own. What is under way when a round ends is not counted, which
at 128 connections flatters the quickest by some hundredths.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import wrk
from bench.contenders import ACTIONS, PARSE, USERS, Contender, action, parse_server, plain
from bench.processes import Load, lasting
from bench.report import Report, Target
from bench.servers import STORES, baseline, split_baseline

_LONGEST_S = 16


class Scene(NamedTuple):
    """How the load comes."""

    name: str
    connections: int
    is_mixed: bool = False
    """Eight actions instead of one, and a client address for each connection."""


SCENES = (Scene("1", 1), Scene("8", 8), Scene("32", 32), Scene("128", 128), Scene("32, mixed", 32, is_mixed=True))


class Round(NamedTuple):
    """One contender's round."""

    rate: float
    """Requests per second."""
    cpu_us: float
    """CPU per request of its Python processes, in microseconds."""
    stores_us: float
    """CPU per request of Valkey and PostgreSQL."""
    p50_ms: float
    p99_ms: float


Rounds = dict[tuple[str, str], list[Round]]
"""Of each scene and contender."""


def one_process(rounds: int, seconds: int, against: Path | None = None) -> Report:
    """P1; beside the platform of another checkout, where one is named."""
    bare, fastapi, ours = "bare ASGI echo", "FastAPI, pydantic body", "Stylobate action"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        contenders = [
            plain(bare, *enter(baseline("bare"))),
            plain(fastapi, *enter(baseline("plain_fastapi"))),
            enter(action(ours)),
            *([enter(action(f"{ours}, {against}", checkout=against))] if against is not None else []),
            *(enter(parse_server()) if against is None else ()),
        ]
        found = _race(contenders, enter(Load.open()), rounds, seconds)
    report = _report("P1", "an action over HTTP, all in one process", found, fastapi)
    if against is None and ("1", PARSE) not in found:
        report.rows.append((PARSE, "not installed", *[""] * 7))
    report.targets += [
        Target("CPU against bare ASGI, 32 connections", _ratio(found, "32", ours, bare), 3.0),
        Target("CPU against FastAPI, 32 connections", _ratio(found, "32", ours, fastapi), 0.65),
        Target("CPU against FastAPI, one connection", _ratio(found, "1", ours, fastapi), 2.0),
        Target("requests/s against FastAPI, 32 connections", _ratio(found, "32", ours, fastapi, "rate"), 1.4, at_least=True),
    ]
    return report


def split(rounds: int, seconds: int, against: Path | None = None) -> Report:
    """P2; as P1."""
    base, whole, ours = "FastAPI and one bare grpc.aio call", "Stylobate action, one process", "Stylobate action, split"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        contenders = [
            plain(base, *enter(split_baseline())),
            enter(action(whole)),
            enter(action(ours, "--split")),
            *([enter(action(f"{ours}, {against}", "--split", checkout=against))] if against is not None else []),
        ]
        found = _race(contenders, enter(Load.open()), rounds, seconds, [one for one in SCENES if not one.is_mixed])
    report = _report("P2", "the same, a process per service", found, base)
    report.targets += [
        Target("CPU against the bare split, 32 connections", _ratio(found, "32", ours, base), 0.35),
        Target("CPU against the bare split, one connection", _ratio(found, "1", ours, base), 1.0),
        Target("CPU against one process, 32 connections", _ratio(found, "32", ours, whole), 1.7),
    ]
    return report


def _race(contenders: list[Contender], load: Load, rounds: int, seconds: int, scenes: Sequence[Scene] = SCENES) -> Rounds:
    found: Rounds = {(scene.name, contender.name): [] for scene in scenes for contender in contenders}
    for scene in scenes:
        is_new = scene is scenes[0] or scene.is_mixed
        for number in range(-1 if is_new else 0, rounds):  # the first is for warming up: caches, verified tokens
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                one = measured(contender, scene, load, lasting(number, seconds))
                if number >= 0:
                    found[scene.name, contender.name].append(one)
    return found


def measured(contender: Contender, scene: Scene, load: Load, seconds: float) -> Round:
    """Return one round of a contender."""
    requests = contender.mixed if scene.is_mixed else contender.plain
    before = contender.processes.cpu_seconds()
    result = load.run(contender.port, requests, seconds, scene.connections, is_spread=scene.is_mixed)
    used = {name: now - before[name] for name, now in contender.processes.cpu_seconds().items()}
    stores = sum(value for name, value in used.items() if name.lower() in STORES)
    count = result["answered"]
    if not count:  # on a busy machine a round can be too short for the slowest
        if seconds >= _LONGEST_S:
            raise RuntimeError(f"{contender.name} answered nothing in {seconds:g} s")
        return measured(contender, scene, load, seconds * 2)
    return Round(
        rate=count / result["seconds"],
        cpu_us=(sum(used.values()) - stores) / count * 1e6,
        stores_us=stores / count * 1e6,
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
    )


def _report(name: str, title: str, found: Rounds, base: str) -> Report:
    columns = ("server", "connections", "req/s", "CPU us/req", "stores us/req", "p50 ms", "p99 ms", "req/s ratio", "CPU ratio")
    raw = {f"{what}, {scene}": [one._asdict() for one in rounds] for (scene, what), rounds in found.items()}
    report = Report(name, title, columns, raw=raw)
    for (scene, what), rounds in found.items():
        middle = [median(getattr(one, column) for one in rounds) for column in Round._fields]
        ratios = (_ratio(found, scene, what, base, column) for column in ("rate", "cpu_us"))
        report.rows.append((what, scene, *middle, *ratios))
    report.notes.append(
        f"medians of {len(rounds)} alternating rounds, {USERS} users; ratios are medians of the rounds'; "
        f'load from {"wrk" if wrk.is_installed() else "Python (wrk is not installed)"}; "mixed": {ACTIONS} actions, '
        "an address for each connection, load from Python"
    )
    return report


def _ratio(found: Rounds, scene: str, ours: str, theirs: str, column: str = "cpu_us") -> float:
    """Return the median of the rounds' ratios: what slows a round down slows both."""
    pairs: list[tuple[Any, Any]] = list(zip(found[scene, ours], found[scene, theirs], strict=True))
    return float(median(getattr(one, column) / getattr(other, column) for one, other in pairs))
