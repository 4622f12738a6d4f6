"""Draws what the benchmarks found, from ``results/*.json`` into ``docs/reference/img``: SVG, for light and for dark pages."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import orjson
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bench.processes import ROOT
from bench.report import RESULTS

IMAGES = ROOT / "docs" / "reference" / "img"
_INK = {"light": "#1f2328", "dark": "#e6edf3"}
_GRID = {"light": "#d0d7de", "dark": "#30363d"}
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")
"""Told apart by those who see colours differently too (Okabe and Ito); the first is ours."""
_MARKERS = ("o", "s", "^", "D")
_OURS = "Stylobate"
Rows = list[dict[str, Any]]
Series = Mapping[str, list[tuple[str, float]]]
"""By server: what it was measured at, and the figure."""


def draw() -> list[str]:
    """Draw what has results and return the names of the files."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "stylobate", "font.family": "sans-serif", "font.size": 10})
    made = []
    for name, (paint, what) in _PLOTS.items():
        file = RESULTS / f"{name}.json"
        if not file.exists():
            continue
        rows: Rows = orjson.loads(file.read_bytes())["rows"]
        for theme in _INK:
            figure = Figure(figsize=(7.2, 3.6), layout="constrained")
            axes = figure.add_subplot()
            paint(axes, rows)
            axes.set_ylabel(what)
            _dress(axes, theme)
            target = IMAGES / f"{name.lower()}-{theme}.svg"
            target.parent.mkdir(exist_ok=True)
            figure.savefig(target, transparent=True, metadata={"Date": None, "Creator": None})
            made.append(target.name)
    return made


def _by_connections(axes: Axes, rows: Rows) -> None:
    """Draw a line for each server, over the number of connections."""
    found = _series(rows, "connections", "CPU us/req")
    points = {name: [(int(at), value) for at, value in some if at.isdecimal()] for name, some in found.items()}
    for place, (name, some) in enumerate(points.items()):
        x, y = zip(*some, strict=True)
        axes.plot(
            x, y, color=_COLOURS[place], marker=_MARKERS[place], linewidth=2.4 if name.startswith(_OURS) else 1.4, label=name
        )
    ticks = [at for at, _ in next(iter(points.values()))]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, [str(at) for at in ticks])
    axes.set_xlabel("connections")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _by_burst(axes: Axes, rows: Rows) -> None:
    """Draw a group of bars for each way to publish."""
    found = _series(rows, "publications", "CPU us/delivery")
    words = [at for at, _ in next(iter(found.values()))]
    width = 0.8 / len(found)
    for place, (name, some) in enumerate(found.items()):
        left = [group + place * width - 0.4 + width / 2 for group in range(len(words))]
        bars = axes.bar(left, [value for _, value in some], width * 0.94, color=_COLOURS[place], label=name)
        axes.bar_label(bars, fmt="{:.1f}", padding=2)
    axes.set_xticks(range(len(words)), [f"publications {word}" for word in words])


def _series(rows: Rows, at: str, what: str) -> Series:
    """Return the figures by server, ours first; what was not installed has none."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        if isinstance(row[what], int | float):
            found.setdefault(row["server"], []).append((row[at], float(row[what])))
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith(_OURS)))


def _dress(axes: Axes, theme: str) -> None:
    """Colour text and lines for a page, and put the legend above."""
    ink, grid = _INK[theme], _GRID[theme]
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(grid)
    axes.grid(axis="y", color=grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=ink, length=0)
    axes.minorticks_off()
    for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
        text.set_color(ink)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, labelcolor=ink, borderaxespad=0)


_PLOTS: dict[str, tuple[Callable[[Axes, Rows], None], str]] = {
    "P1": (_by_connections, "CPU per request, µs"),
    "P2": (_by_connections, "CPU per request, µs"),
    "P5": (_by_burst, "CPU per delivery, µs"),
}
