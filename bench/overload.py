"""P11: what is left of a service at one, two and four times what it can do.

Requests arrive at a rate, whatever became of those before them; what is answered with 200 within five seconds counts. The handler
keeps the processor busy for a millisecond, as handlers do; so the server, and not the client on the same machine, runs out.
"""

from pathlib import Path
from statistics import median
from typing import Any

from bench.contenders import Contender, action
from bench.processes import HOST, Load, Worker
from bench.report import Report, Target

_TIMES = (0.5, 1, 2, 4)
_PATIENCE_S = 5.0
_CONNECTIONS = 4000


def measure(rounds: int, seconds: int, *options: str, checkout: Path | None = None) -> Report:
    """Return what was found.

    :param options: of `up`.
    """
    with (
        action("Stylobate", *options, checkout=checkout, called="work") as ours,
        Load.open() as closed,
        Worker.open("arrivals") as open_loop,
    ):
        closed.run(ours.port, ours.plain, 2, 32)
        capacity = median(_capacity(closed, ours) for _ in range(3))
        found = {times: [_round(open_loop, ours, capacity * times, seconds) for _ in range(rounds)] for times in _TIMES}
    report = Report(
        "P11",
        f"overload: a handler of 1 ms, {capacity:,.0f} requests/s at best",
        ("load", "offered/s", "passed/s", "refused/s", "failed/s", "p50 ms", "p99 ms"),
    )
    for times, some in found.items():
        figures = [median(one[name] for one in some) for name in ("offered", "passed", "refused", "failed", "p50_ms", "p99_ms")]
        report.rows.append((f"{times:g} x", *figures))
    peak = max(median(one["passed"] for one in some) for some in found.values())
    report.targets += [
        Target("passed at 2 x, of the peak", median(one["passed"] for one in found[2]) / peak, 0.8, at_least=True),
        Target("p99 of what passed at 2 x", median(one["p99_ms"] for one in found[2]), 2000, unit="ms"),
    ]
    report.raw = {f"{times:g}": some for times, some in found.items()}
    return report


def _capacity(load: Load, ours: Contender) -> float:
    result = load.run(ours.port, ours.plain, 1, 32)
    return float(result["answered"] / result["seconds"])


def _round(worker: Worker, ours: Contender, rate: float, seconds: int) -> dict[str, Any]:
    job = {"host": HOST, "port": ours.port, "requests": ours.plain, "rate": rate, "seconds": seconds}
    return worker.ask(job | {"patience_s": _PATIENCE_S, "connections": _CONNECTIONS})
