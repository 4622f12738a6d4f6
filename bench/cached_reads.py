"""P18: an object read over HTTP, from its copy, from the database, or not sent since the reader has it, beside an echo action.

All four go to one process, in alternating rounds, for the same users and charged on the same rules. The action is the least that
one can be: it returns its input. What is compared is the CPU of the platform's Python processes for each request.
"""

import contextlib
from statistics import median

import httpx

from bench.contenders import Contender, action, request
from bench.http_action import Round, Scene, measured
from bench.processes import HOST, Load, lasting
from bench.report import Report, Target

_SCENES = (Scene("8", 8), Scene("32", 32))
_OBJECTS = 64
_ORDER = {"items": [{"sku": "a-1", "quantity": 2}, {"sku": "b-22", "quantity": 1}]}
_ECHO, _STRONG, _CACHED, _UNCHANGED = "echo action", "read, strong", "read, cached", "read, cached, unchanged (304)"


def measure(rounds: int, seconds: int) -> Report:
    """P18."""
    with contextlib.ExitStack() as stack:
        contenders = _contenders(stack.enter_context(action(_ECHO, called="echo")))
        load = stack.enter_context(Load.open())
        found: dict[tuple[str, str], list[Round]] = {(scene.name, one.name): [] for scene in _SCENES for one in contenders}
        for scene in _SCENES:
            for number in range(-1 if scene is _SCENES[0] else 0, rounds):  # the first is for warming up
                for one in contenders if number % 2 == 0 else reversed(contenders):
                    figures = measured(one, scene, load, lasting(number, seconds))
                    if number >= 0:
                        found[scene.name, one.name].append(figures)
    columns = ("what", "connections", "req/s", "CPU us/req", "stores us/req", "req/s ratio", "CPU ratio")
    report = Report("P18", "reading an object, beside an echo action", columns)
    for (told, name), some in found.items():
        middle = [median(getattr(each, column) for each in some) for column in ("rate", "cpu_us", "stores_us")]
        report.rows.append((name, told, *middle, *(_ratio(found, told, name, column) for column in ("rate", "cpu_us"))))
    for connections in ("8", "32"):
        share = 1 / _ratio(found, connections, _CACHED, "cpu_us")
        what = f"cached reads for the CPU of an echo action, {connections} connections"
        report.targets.append(Target(what, share, 0.8, at_least=True))
    report.notes.append(f"medians of {rounds} alternating rounds of {seconds} s; {_OBJECTS} objects; ratios to the echo action")
    report.raw = {f"{name}, {told}": [each._asdict() for each in some] for (told, name), some in found.items()}
    return report


def _contenders(echo: Contender) -> list[Contender]:
    """Return the action, and reads of objects that are made for it by the same users."""
    found = {_STRONG: list[str](), _CACHED: list[str](), _UNCHANGED: list[str]()}
    with httpx.Client(base_url=f"http://{HOST}:{echo.port}", timeout=30) as client:
        for number in range(_OBJECTS):
            path = f"/v1/state/bench-orders/order-{number}"
            (token,) = (line for line in echo.plain[number].split("\r\n") if line.startswith("Authorization: "))
            who = dict([token.split(": ", 1)])
            answer = client.put(path, json={"data": _ORDER}, headers=who).raise_for_status()
            found[_STRONG].append(request(path, echo.port, "GET", **who))
            found[_CACHED].append(request(f"{path}?consistency=cached", echo.port, "GET", **who))
            had = {"If-None-Match": answer.headers["etag"]}
            found[_UNCHANGED].append(request(f"{path}?consistency=cached", echo.port, "GET", **who, **had))
    return [echo, *(Contender(name, echo.port, echo.processes, some, some) for name, some in found.items())]


def _ratio(found: dict[tuple[str, str], list[Round]], scene: str, name: str, column: str) -> float:
    """Return the median of the rounds' ratios."""
    pairs = zip(found[scene, name], found[scene, _ECHO], strict=True)
    return float(median(getattr(one, column) / getattr(other, column) for one, other in pairs))
