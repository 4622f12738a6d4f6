"""P9: how long `stylobate up` takes to its first answer, and what the platform holds in memory and does when idle."""

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.processes import ROOT
from bench.report import Report, Target
from bench.servers import platform

_SETTLE_S = 12.0
_IDLE_S = 10.0


def measure(first: int, later: int) -> Report:
    """Start the platform in a fresh project and again; the last start is left idle and weighed."""
    firsts: list[float] = []
    laters: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "modules" / "shop", folder / "modules" / "shop")
        for _ in range(first):
            shutil.rmtree(folder / ".stylobate", ignore_errors=True)
            firsts.append(_start(folder))
        laters += [_start(folder) for _ in range(later - 1)]
        took, memory, busy = _idle(folder)
        laters.append(took)
    rss, pss = (sum(sizes[column] for sizes in memory.values()) for column in (0, 1))
    report = Report("P9", "start and idle memory, one process", ("what", "median", "rounds"))
    report.rows += [
        ("first run to the first 200, s", median(firsts), _rounds(firsts)),
        ("later run to the first 200, s", median(laters), _rounds(laters)),
        ("idle, proportional set size (PSS), MB", pss, f"resident, shared pages counted in each process: {rss:.0f}"),
        ("idle, % of a core", busy, ""),
        *((f"  {name}, PSS MB", sizes[1], f"resident {sizes[0]:.0f}") for name, sizes in memory.items()),
    ]
    report.targets += [
        Target("first run", median(firsts), 6.0, unit="s"),
        Target("later run", median(laters), 3.5, unit="s"),
        Target("idle, proportional", pss, 150.0, unit="MB"),
        Target("idle", busy, 2.0, unit="% of a core"),
    ]
    report.raw = {"first_s": firsts, "later_s": laters, "memory_mb": memory, "idle_percent": busy}
    return report


def _start(folder: Path) -> float:
    began = time.monotonic()
    with platform(folder):
        return time.monotonic() - began


def _idle(folder: Path) -> tuple[float, dict[str, tuple[float, float]], float]:
    """Return the seconds to the first answer, the memory of each process, and the share of a core in percent."""
    began = time.monotonic()
    with platform(folder) as (_, processes):
        took = time.monotonic() - began
        time.sleep(_SETTLE_S)  # idle is what is being measured
        before, since = sum(processes.cpu_seconds().values()), time.monotonic()
        time.sleep(_IDLE_S)
        busy = (sum(processes.cpu_seconds().values()) - before) / (time.monotonic() - since)
        return took, processes.memory_mb(), busy * 100


def _rounds(seconds: list[float]) -> str:
    return " ".join(f"{one:.1f}" for one in seconds)
