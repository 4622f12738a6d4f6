"""The processes of a benchmark: started, waited for, their CPU time and memory read, stopped."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import orjson
import psutil

from bench import wrk

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
_START_S = 60.0


class Processes:
    """Processes that serve together, by name; each with its children, less those that have a name of their own."""

    def __init__(self, found: Mapping[str, psutil.Process]) -> None:
        self.found = dict(found)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time that each has used, with that of its children that have ended."""
        return {name: sum(map(_cpu_with_ended, family)) for name, family in self._families()}

    def memory_mb(self) -> dict[str, tuple[float, float]]:
        """Return the resident and the proportional set size of each in MB."""
        weighed = {name: [_sizes(one) for one in family] for name, family in self._families()}
        return {name: (sum(rss for rss, _ in found) / 1e6, sum(pss for _, pss in found) / 1e6) for name, found in weighed.items()}

    def _families(self) -> Iterator[tuple[str, list[psutil.Process]]]:
        named = set(self.found.values())
        claimed: set[psutil.Process] = set()
        for name, process in reversed(self.found.items()):  # the supervisor, parent of all, comes first and takes what is left
            family = [process, *(one for one in process.children(recursive=True) if one not in named and one not in claimed)]
            claimed.update(family)
            yield name, family


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time that a process has used, without its children."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _cpu_with_ended(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _sizes(process: psutil.Process) -> tuple[int, int]:
    memory = process.memory_full_info()
    return memory.rss, getattr(memory, "pss", memory.rss)


def lasting(number: int, seconds: float) -> float:
    """Return how long a round lasts: one for warming up, whose number is negative, a third."""
    return seconds if number >= 0 else seconds / 3


def wait_for(condition: Any, child: "subprocess.Popen[bytes]") -> None:
    """Look every few milliseconds; raises RuntimeError when the child ends first or a minute passes."""
    began = time.monotonic()
    while not condition():
        if child.poll() is not None or time.monotonic() - began > _START_S:
            raise RuntimeError(f"{child.args!r} did not come up (exit code {child.returncode})")
        time.sleep(0.01)


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command until the context ends."""
    with subprocess.Popen(command, **options) as child:
        try:
            yield child
        finally:
            child.terminate()
            child.wait(30)


class Worker:
    """A process that takes jobs as JSON lines and answers each with one."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child

    @classmethod
    @contextlib.contextmanager
    def open(cls, module: str) -> Iterator[Self]:
        """Start ``bench.<module>``; it ends with the context."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with running([sys.executable, "-m", f"bench.{module}"], cwd=ROOT, **pipes) as child:
            yield cls(child)

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Hand over a job and return its answer."""
        assert self._child.stdin is not None and self._child.stdout is not None  # noqa: PT018  pipes were asked for
        self._child.stdin.write(orjson.dumps(job) + b"\n")
        self._child.stdin.flush()
        result: dict[str, Any] = orjson.loads(self._child.stdout.readline())
        return result


class Load:
    """Makes load over HTTP: with wrk where it is installed, else from a process of its own."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[Self]:
        """Start the process; it ends with the context."""
        with Worker.open("load") as worker:
            yield cls(worker)

    def run(
        self,
        port: int,
        requests: list[str],
        seconds: float,
        connections: int,
        *,
        is_spread: bool = False,
        pause_s: float = 0.0,
        authority: str = "",
    ) -> dict[str, Any]:
        """Make load and return what came of it, which may be nothing. Raises RuntimeError when an answer was not 200.

        :param seconds: parts of one too, which wrk cannot.
        :param is_spread: each connection comes from an address of its own, which wrk cannot.
        :param pause_s: between an answer and the next request, which wrk cannot either.
        :param authority: over TLS, with a certificate of this file's authority.
        """
        if is_spread or pause_s or authority or seconds % 1 or not wrk.is_installed():
            job = {"host": HOST, "port": port, "requests": requests, "seconds": seconds, "connections": connections}
            result = self._worker.ask(job | {"is_spread": is_spread, "pause_s": pause_s, "authority": authority})
        else:
            result = wrk.run(HOST, port, requests, int(seconds), connections)
        if result["refused"]:
            raise RuntimeError(f"{result['refused']} of the requests failed, first: {result['first_refusal']}")
        return result
