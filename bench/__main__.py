"""``python -m bench [P1 P2 …]``: without arguments all but what settings, other servers and storms cost, in under ten minutes.

At the end it says where these went.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from rich.console import Console

from bench import (
    access,
    broadcast,
    cached_reads,
    credentials,
    ephemeral_writes,
    footprint,
    http_action,
    idle_connections,
    limit_checks,
    limits_cost,
    limits_on_a_cluster,
    local_channel,
    logins,
    on_mongodb,
    outage,
    overload,
    page,
    plot,
    refreshes,
    reload,
    security_costs,
    state_queries,
    state_writes,
    storms,
    timers,
    watchers,
)
from bench.report import Report, machine

AGAINST: dict[str, Callable[[Path | None], Report]] = {
    "P1": lambda checkout: http_action.one_process(3, 1, checkout),
    "P2": lambda checkout: http_action.split(3, 1, checkout),
}
"""Those that can run the platform of another checkout beside."""
ALONE: dict[str, Callable[[], Report]] = {
    "P3": lambda: limit_checks.measure(rounds=3, seconds=0.5),
    "P4": lambda: state_writes.measure(rounds=3, seconds=1, sustained_s=20),
    "P5": lambda: broadcast.measure(rounds=2, seconds=1),
    "P6": idle_connections.measure,
    "P7": lambda: logins.measure(rounds=3, seconds=1.5),
    "P8": lambda: local_channel.report(rounds=9, calls=4000),
    "P9": lambda: footprint.measure(first=2, later=3),
    "P10": lambda: reload.measure(rounds=3),
    "P11": lambda: overload.measure(rounds=2, seconds=2),
    "P12": lambda: limits_cost.measure(rounds=3, seconds=1),
    "P13": lambda: outage.measure(rounds=1),
    "P14": lambda: watchers.measure(counts=(40, 400), rounds=2, seconds=2),
    "P15": lambda: state_queries.measure(counts=(10_000, 100_000, 1_000_000), queries=1_000),
    "P16": timers.measure,
    "P17": lambda: ephemeral_writes.measure(rounds=3, seconds=0.5),
    "P18": lambda: cached_reads.measure(rounds=3, seconds=1),
    "P19": lambda: refreshes.measure(rounds=3, seconds=1),
    "P21": lambda: access.measure(counts=(100, 10_000, 100_000), objects=300),
    "P22": lambda: credentials.measure(rounds=3, seconds=0.5, ended=100),
}
SETTINGS: dict[str, Callable[[], Report]] = {
    "P23": lambda: security_costs.measure(rounds=3, seconds=0.4),
    "P24": lambda: limits_on_a_cluster.measure(rounds=3, seconds=0.5),
    "P25": lambda: on_mongodb.measure(rounds=3, seconds=0.7, calls=9),
    "P26": lambda: storms.measure(plain=(500, 2000, 5000), tls=(100, 300, 1000), seconds=2),
}
"""What a platform costs that is set up in another way, and what storms do to one; they run when they are named."""
BENCHMARKS = (*AGAINST, *ALONE, *SETTINGS)


def main() -> None:
    """Run those named, in order."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    which = f"one of {', '.join(BENCHMARKS)}; none: all but {', '.join(SETTINGS)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=which)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="P1 and P2: what runs beside; it has a .venv of its own")
    parser.add_argument(
        "--plot", action="store_true", help="draw what was found and enter it into its page; runs only what is named"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    arguments = parser.parse_args()
    if arguments.list:
        print(*BENCHMARKS)
        return
    names = [name.upper() for name in arguments.names]
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"there is no benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    if names or not arguments.plot:
        _run(names or [*AGAINST, *ALONE], arguments.against)
    if arguments.plot:
        print("drawn:", *plot.draw())
        print("entered into the page:", *page.enter())


def _run(names: list[str], against: Path | None) -> None:
    console = Console(width=max(150, Console().width) if not sys.stdout.isatty() else None)
    console.print("  ".join(f"{key} {value}" for key, value in machine().items()), style="dim")
    took: dict[str, float] = {}
    for name in names:
        begun = perf_counter()
        report = AGAINST[name](against) if name in AGAINST else (ALONE | SETTINGS)[name]()
        took[name] = perf_counter() - begun
        report.show(console)
        if against is None:  # what the page shows is of this checkout alone
            report.save()
    told = "  ".join(f"{name} {seconds:.0f}" for name, seconds in took.items())
    console.print(f"seconds: {told}  together {sum(took.values()):.0f}", style="dim")


if __name__ == "__main__":
    main()
