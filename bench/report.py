"""What a benchmark found: a table with the target beside each figure, and JSON."""

import os
import platform
import sysconfig
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"
_LIBRARIES = ("fastapi", "uvicorn", "uvloop", "httptools", "pydantic", "grpcio", "protobuf", "asyncpg", "redis", "argon2-cffi")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was promised and the one that was found."""

    what: str
    found: float
    bound: float
    at_least: bool = False
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        """Whether the figure is as good as promised."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


@dataclass(slots=True)
class Report:
    """A benchmark's findings."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    """Every round, for who wants to look closer."""

    def show(self, console: Console) -> None:
        """Print the tables."""
        table = Table(title=f"{self.name}  {self.title}", title_justify="left", title_style="bold")
        for column in self.columns:
            table.add_column(column, justify="left" if column == self.columns[0] else "right")
        for row in self.rows:
            table.add_row(*(text(cell) for cell in row))
        console.print(table)
        for target in self.targets:
            mark = "[green]met[/green]   " if target.is_met else "[red]missed[/red]"
            sign = ">=" if target.at_least else "<="
            console.print(f"  {mark} {target.what}: {text(target.found)} {target.unit} (target {sign} {text(target.bound)})")
        for note in self.notes:
            console.print(f"  [dim]{note}[/dim]")
        console.print()

    def save(self) -> None:
        """Write ``results/<name>.json``."""
        RESULTS.mkdir(exist_ok=True)
        document = {
            "benchmark": self.name,
            "title": self.title,
            "time": datetime.now(UTC),
            "machine": machine(),
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "targets": [
                {"what": t.what, "found": t.found, "bound": t.bound, "at_least": t.at_least, "unit": t.unit, "met": t.is_met}
                for t in self.targets
            ],
            "rounds": self.raw,
        }
        (RESULTS / f"{self.name}.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


@cache
def machine() -> dict[str, Any]:
    """Return what the figures are taken on; the load is that before the first benchmark."""
    return {
        "python": f"{platform.python_version()} ({_build()})",
        "versions": {name: version(name) for name in _LIBRARIES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average": [round(value, 2) for value in psutil.getloadavg()],
    }


def _build() -> str:
    """Return how the interpreter was built: an optimised build is 10 to 16 % faster at everything."""
    flags = f"{sysconfig.get_config_var('CONFIG_ARGS')} {sysconfig.get_config_var('PY_CFLAGS')}"
    optimised = [name for name, flag in (("PGO", "--enable-optimizations"), ("LTO", "--with-lto")) if flag in flags]
    return f"{platform.python_compiler()}, {' and '.join(optimised) or 'without PGO and LTO'}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def text(cell: object) -> str:
    """Return a figure with as many digits as say something."""
    if isinstance(cell, float):
        whole = cell.is_integer() or abs(cell) >= 1000  # noqa: PLR2004
        return f"{cell:,.0f}" if whole else f"{cell:.3g}" if abs(cell) < 10 else f"{cell:.1f}"  # noqa: PLR2004
    return str(cell)
