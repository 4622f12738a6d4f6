"""P6: memory per idle connection that is authenticated and has one subscription; Socket.IO beside it.

A first few hundred connections bring what grows once. Then the processes are weighed (proportional set size, which counts a page
shared by two as half), 5,000 more connect, each with a user and a token of its own, and they are weighed again. Garbage is
collected before on Node. The kernel's buffers stand in no process and are the same for both.
"""

import time

from bench.broadcast_servers import OURS, SOCKET_IO, Broadcaster, ours, socket_io
from bench.report import Report, Target

FIRST = 500
CONNECTIONS = 5000
_SETTLE_S = 2.0


def measure() -> Report:
    """P6."""
    report = Report(
        "P6", "memory per idle connection", ("server", "KB each", f"{FIRST} connections, MB", f"{CONNECTIONS:,} more, MB")
    )
    with ours(FIRST + CONNECTIONS) as server:
        each = _weigh(report, server)
    report.targets.append(Target("memory per connection", each, 6.0, unit="KB"))
    with socket_io() as server_or_none:
        if server_or_none is None:
            report.rows.append((SOCKET_IO, "not installed", "", ""))
        else:
            _weigh(report, server_or_none)
    report.notes.append(f"{OURS}: all of its Python processes")
    return report


def _weigh(report: Report, server: Broadcaster) -> float:
    """Enter the server's row and return the KB of a connection."""
    before, after = (_after(server, count) for count in (FIRST, CONNECTIONS))
    each = (after - before) * 1000 / CONNECTIONS
    report.rows.append((server.name, each, before, after))
    report.raw[server.name] = {"before_mb": before, "after_mb": after}
    return each


def _after(server: Broadcaster, more: int) -> float:
    """Connect that many more and return the MB held when everything has calmed down."""
    server.connect(more)
    time.sleep(_SETTLE_S)
    server.publish(0)
    return server.pss_mb()
