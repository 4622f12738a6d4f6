"""P5: one publication to 2,000 sockets, one at a time and eight at once, beside bare writes and Socket.IO.

Compared is the CPU time of the server's process per delivery, in alternating rounds; the sockets are held by a process of their
own. The platform's is all of its Python processes, and publishing is an action, called over HTTP: through Valkey, as in
production. The bare writes join a burst's frames, so they are the least that either could cost.
"""

import contextlib
from statistics import median
from time import perf_counter
from typing import NamedTuple

from bench.broadcast_servers import OURS, RAW, SOCKET_IO, Broadcaster, ours, raw, socket_io
from bench.processes import lasting
from bench.report import Report, Target

SOCKETS = 2000
BURSTS = (1, 8)
_WORDS = {1: "one at a time", 8: "eight at once"}


class _Round(NamedTuple):
    cpu_us: float
    """Per delivery."""
    rate: float
    """Deliveries a second."""


def _round(server: Broadcaster, burst: int, seconds: float) -> _Round:
    begun, cpu, deliveries = perf_counter(), server.cpu_seconds(), 0
    while perf_counter() < begun + seconds:
        server.publish(burst)
        server.wait(burst * SOCKETS)
        deliveries += burst * SOCKETS
    return _Round((server.cpu_seconds() - cpu) / deliveries * 1e6, deliveries / (perf_counter() - begun))


def measure(rounds: int, seconds: float) -> Report:
    """P5."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        servers = [server for server in (enter(raw()), enter(ours(SOCKETS)), enter(socket_io())) if server is not None]
        for server in servers:
            server.connect(SOCKETS)
        found: dict[tuple[str, int], list[_Round]] = {(server.name, burst): [] for burst in BURSTS for server in servers}
        for number in range(-1, rounds):  # the first is for warming up
            for burst in BURSTS:
                for server in servers if number % 2 else reversed(servers):
                    one = _round(server, burst, lasting(number, seconds))
                    if number >= 0:
                        found[server.name, burst].append(one)
    return _report(found, rounds)


def _report(found: dict[tuple[str, int], list[_Round]], rounds: int) -> Report:
    report = Report(
        "P5",
        f"one publication to {SOCKETS:,} sockets",
        ("server", "publications", "CPU us/delivery", "deliveries/s", "CPU to raw", "CPU to Socket.IO"),
    )

    def ratio(name: str, base: str, burst: int) -> float:
        """Return how often the base's cost goes into the other's: above 1 it is cheaper than the base."""
        pairs = zip(found[name, burst], found[base, burst], strict=True)
        return median(theirs.cpu_us / mine.cpu_us for mine, theirs in pairs)

    has_peer = (SOCKET_IO, 1) in found
    for (name, burst), some in found.items():
        middle = [median(column) for column in zip(*some, strict=True)]
        beside_peer = 1 / ratio(name, SOCKET_IO, burst) if has_peer else "not installed"
        report.rows.append((name, _WORDS[burst], *middle, 1 / ratio(name, RAW, burst), beside_peer))
    report.targets.append(Target("against raw writes, one at a time", ratio(OURS, RAW, 1), 0.85, at_least=True))
    if has_peer:
        report.targets += [
            Target(f"against Socket.IO, {_WORDS[burst]}", ratio(OURS, SOCKET_IO, burst), bound, at_least=True)
            for burst, bound in ((1, 1.3), (8, 5.0))
        ]
    else:
        report.rows.append((SOCKET_IO, "", *["not installed"] * 4))
    report.raw = {f"{name}, {_WORDS[burst]}": [one._asdict() for one in some] for (name, burst), some in found.items()}
    report.notes.append(f"medians of {rounds} alternating rounds; a target is the other's CPU per delivery to ours")
    return report
