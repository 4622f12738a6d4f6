"""Draws what the benchmarks found, from ``results/*.json`` into ``docs/reference/img``: SVG, for light and for dark pages."""

from collections.abc import Callable, Mapping
from statistics import median
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
Document = dict[str, Any]
"""What :meth:`bench.report.Report.save` wrote."""
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
        document: Document = orjson.loads(file.read_bytes())
        for theme in _INK:
            figure = Figure(figsize=(7.2, 3.6), layout="constrained")
            axes = figure.add_subplot()
            paint(axes, document)
            axes.set_ylabel(what)
            _dress(axes, theme)
            target = IMAGES / f"{name.lower()}-{theme}.svg"
            target.parent.mkdir(exist_ok=True)
            figure.savefig(target, transparent=True, metadata={"Date": None, "Creator": None})
            made.append(target.name)
    return made


def _by_connections(axes: Axes, document: Document) -> None:
    """Draw a line for each server, over the number of connections."""
    found = _series(document, "connections", "CPU us/req")
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


def _by_burst(axes: Axes, document: Document) -> None:
    """Draw a group of bars for each way to publish."""
    found = _series(document, "publications", "CPU us/delivery")
    words = [at for at, _ in next(iter(found.values()))]
    width = 0.8 / len(found)
    for place, (name, some) in enumerate(found.items()):
        left = [group + place * width - 0.4 + width / 2 for group in range(len(words))]
        bars = axes.bar(left, [value for _, value in some], width * 0.94, color=_COLOURS[place], label=name)
        axes.bar_label(bars, fmt="{:.1f}", padding=2)
    axes.set_xticks(range(len(words)), [f"publications {word}" for word in words])


def _by_load(axes: Axes, document: Document) -> None:
    """Draw what became of the requests at each load, and over it how long the slowest hundredth of those that passed took."""
    rows = document["rows"]
    words = [row["load"] for row in rows]
    below = [0.0] * len(rows)
    for place, name in enumerate(("passed/s", "refused/s", "failed/s")):
        heights = [float(row[name]) for row in rows]
        bars = axes.bar(words, heights, 0.6, bottom=below, color=_COLOURS[place], label=name.removesuffix("/s"))
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.bar_label(bars, [f"p99 {row['p99 ms']:,.0f} ms" for row in rows], padding=2)
    axes.set_xlabel("load, of what the process can do")


def _by_time(axes: Axes, document: Document) -> None:
    """Draw how long answers took before, while and after Valkey was away."""
    rounds = document["rounds"]
    at = [one["s"] for one in rounds["timeline"]]
    for place, name in enumerate(("p50 ms", "slowest ms")):
        axes.plot(
            at, [one[name] for one in rounds["timeline"]], color=_COLOURS[place], linewidth=1.8, label=name.removesuffix(" ms")
        )
    axes.axvspan(
        0, median(rounds["alone_s"]), color=_COLOURS[3], alpha=0.3, linewidth=0, label="limits counted by the process alone"
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("seconds from the kill")


def _series(document: Document, at: str, what: str) -> Series:
    """Return the figures by server, ours first; what was not installed has none."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row in document["rows"]:
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


_PLOTS: dict[str, tuple[Callable[[Axes, Document], None], str]] = {
    "P1": (_by_connections, "CPU per request, µs"),
    "P2": (_by_connections, "CPU per request, µs"),
    "P5": (_by_burst, "CPU per delivery, µs"),
    "P11": (_by_load, "requests per second"),
    "P13": (_by_time, "time of an answer, ms"),
}
