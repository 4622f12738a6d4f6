"""P9: how long `stylobate up` takes to its first answer, and what the platform holds in memory when idle."""

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.processes import ROOT, Processes, platform
from bench.report import Report, Target

_SETTLE_S = 3.0


def measure(first: int, later: int) -> Report:
    """Start the platform in a fresh project and again; the last start is left idle and weighed."""
    firsts: list[float] = []
    laters: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "modules" / "shop", folder / "modules" / "shop")
        for _ in range(first):
            shutil.rmtree(folder / ".stylobate", ignore_errors=True)
            firsts.append(_start(folder)[0])
        laters += [_start(folder)[0] for _ in range(later - 1)]
        took, memory = _start(folder, _SETTLE_S)
        laters.append(took)
    rss, pss = (sum(sizes[column] for sizes in memory.values()) for column in (0, 1))
    report = Report("P9", "start and idle memory, one process", ("what", "median", "rounds"))
    report.rows += [
        ("first run to the first 200, s", median(firsts), _rounds(firsts)),
        ("later run to the first 200, s", median(laters), _rounds(laters)),
        ("idle, resident, MB", rss, ""),
        ("idle, proportional (PSS), MB", pss, ""),
        *((f"  {name}, PSS MB", sizes[1], f"resident {sizes[0]:.0f}") for name, sizes in memory.items()),
    ]
    report.targets += [
        Target("first run", median(firsts), 6.0, unit="s"),
        Target("later run", median(laters), 3.0, unit="s"),
        Target("idle, resident (shared pages counted in every process)", rss, 250.0, unit="MB"),
        Target("idle, proportional", pss, 250.0, unit="MB"),
    ]
    report.raw = {"first_s": firsts, "later_s": laters, "memory_mb": memory}
    return report


def _start(folder: Path, settle_s: float = 0.0) -> tuple[float, dict[str, tuple[float, float]]]:
    began = time.monotonic()
    with platform(folder) as (_, processes):
        took = time.monotonic() - began
        return took, _weigh(processes, settle_s) if settle_s else {}


def _weigh(processes: Processes, settle_s: float) -> dict[str, tuple[float, float]]:
    time.sleep(settle_s)  # idle is what is being measured
    return processes.memory_mb()


def _rounds(seconds: list[float]) -> str:
    return " ".join(f"{one:.1f}" for one in seconds)
