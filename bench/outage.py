"""P13: Valkey is killed under load, and started again by the supervisor: what clients see, and how long the limiter counts alone.

An answer whose limits are counted by all processes together says how they stand (``RateLimit``); one that was counted by this
process alone says nothing of them. So the answers themselves tell how long the limiter went without Valkey.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import floor
from statistics import median, quantiles
from time import monotonic, sleep
from typing import Any, NamedTuple

from bench.contenders import Contender, action
from bench.processes import HOST, Worker
from bench.report import Report, Target

_RATE = 200
_BEFORE_S, _SECONDS = 3.0, 10
_BIN_S = 0.25


class Answer(NamedTuple):
    """One answer. Times in seconds."""

    sent: float
    """From the kill."""
    took: float
    status: str
    is_counted: bool
    """Whether its limits were counted in Valkey."""


def measure(rounds: int) -> Report:
    """Return what was found."""
    found = []
    for _ in range(rounds):
        with action("Stylobate") as ours, Worker.open("arrivals") as worker:
            found.append(_round(worker, ours))
    alone = [max((one.sent for one in some if not one.is_counted and one.sent > 0), default=0.0) for some, _ in found]
    report = Report(
        "P13",
        f"Valkey killed under {_RATE} requests/s",
        ("phase", "answers", "not 200", "p50 ms", "p99 ms", "slowest ms", "limits counted"),
    )
    phases: tuple[tuple[str, Callable[[Answer, float], bool]], ...] = (
        ("before", lambda one, _: one.sent < 0),
        ("counted alone", lambda one, until: 0 <= one.sent <= until),
        ("after", lambda one, until: one.sent > until),
    )
    for name, is_in in phases:
        some = [one for (answers, _), until in zip(found, alone, strict=True) for one in answers if is_in(one, until)]
        if some:
            report.rows.append((name, *_figures(some)))
    unanswered = sum(failed for _, failed in found)
    wrong = sum(one.status != "200" for answers, _ in found for one in answers)
    report.targets += [
        Target("requests not answered with 200", float(wrong + unanswered), 0, unit="requests"),
        Target("until Valkey counts again", median(alone), 5, unit="s"),
    ]
    report.raw = {"alone_s": alone, "unanswered": unanswered, "timeline": _timeline([one for some, _ in found for one in some])}
    return report


def _round(worker: Worker, ours: Contender) -> tuple[list[Answer], int]:
    """Return the answers, and how many requests got none."""
    job = {"host": HOST, "port": ours.port, "requests": ours.plain, "rate": _RATE, "seconds": _SECONDS}
    with ThreadPoolExecutor(1) as pool:
        began = monotonic()
        asking = pool.submit(worker.ask, job | {"patience_s": 5.0, "connections": 1000, "is_detailed": True})
        sleep(_BEFORE_S)
        killed = monotonic() - began
        ours.processes.found["valkey"].kill()
        result: dict[str, Any] = asking.result()
    if result["first_refusal"]:
        print(result["first_refusal"])
    answers = [Answer(sent - killed, *rest) for sent, *rest in result["answers"]]
    return answers, round(result["failed"] * _SECONDS)


def _timeline(some: list[Answer]) -> list[dict[str, float]]:
    """Return what all rounds together took, quarter of a second by quarter, by when a request was sent."""
    bins: dict[int, list[float]] = {}
    for one in some:
        bins.setdefault(floor(one.sent / _BIN_S), []).append(one.took * 1000)
    return [{"s": at * _BIN_S, "p50 ms": median(took), "slowest ms": max(took)} for at, took in sorted(bins.items())]


def _figures(some: list[Answer]) -> tuple[Any, ...]:
    took = sorted(one.took * 1000 for one in some)
    p99 = quantiles(took, n=100)[98] if len(took) > 1 else took[0]
    counted = sum(one.is_counted for one in some) / len(some)
    wrong = sum(one.status != "200" for one in some)
    return len(some), wrong, median(took), p99, took[-1], f"{100 * counted:.0f} %"
