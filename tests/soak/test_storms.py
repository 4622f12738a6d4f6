"""Storms of new connections, for longer than the benchmark: nobody who is connected fails, and no newcomer is forgotten."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).parents[2]
PLAIN, TLS, SECONDS = 2000, 500, 30

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


def test_a_storm_fails_nobody_who_is_connected() -> None:
    """Each of their calls is answered with 200, before, in and after the storm; each newcomer is answered, refused or waits."""
    command = [sys.executable, "-m", "bench.storms", *map(str, (PLAIN, TLS, SECONDS))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=True)
    print(done.stdout)  # noqa: T201  the figures
    for found in map(orjson.loads, done.stdout.splitlines()):
        there, came = found["residents"], found["newcomers"]
        assert there["failed"] == 0, there["first_failure"]
        told = sum(came[what] for what in ("answered", "refused", "late", "unheard"))
        closed = came["cut"] if found["kind"] == "TLS" else 0
        assert (told + closed, came["other"]) == (found["came"], 0)
        assert came["answered"] == 2 or found["came"] > 2  # calm again
