"""Starts service processes by forking one that has imported everything already: a process more costs no import.

It runs in a process of its own, without threads and without an event loop: both would not survive a fork. Nothing is made
here, least of all an id or a random number: what is in memory at the fork, every child has.

A request is one packet of JSON over a socket that its starter made, with descriptors: a socket that is told, in a packet of
digits each, the child's process id and how it ended; then those that are for the child. See :mod:`stylobate.launcher.forked`.
"""

import contextlib
import ctypes
import gc
import io
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from stylobate.app import HostSettings, Placement
from stylobate.config import ConfigError, Sources
from stylobate.launcher.forked import run_child
from stylobate.launcher.serving import serve
from stylobate.services import installed_services
from stylobate.telemetry import prepare

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_MOST = 1024 * 1024
_MOST_DESCRIPTORS = 4

Become = Callable[[dict[str, Any], list[int]], int]
"""What a child does with the request and its descriptors; returns its exit code."""


def main(descriptor: int) -> None:
    """Serve the supervisor's requests until it closes the socket: ``{"placement", "environ"}`` and the child's output."""
    import hpack  # noqa: F401, PLC0415  each of them speaks it, and a process that is alone does not

    parent = os.getpid()
    for spec in installed_services().values():
        spec.load()
    with contextlib.suppress(ConfigError):  # the children say it
        if HostSettings.value("trace_endpoint", Sources.of_process()):
            prepare()
    serve_forks(descriptor, lambda request, descriptors: _become_child(request, *descriptors, parent=parent))


def become_server(descriptor: int, output: int, keep: set[int], environ: Mapping[str, str], parent: int) -> None:
    """Be what `python -m` makes of this file, in a fork of the supervisor's process.

    :param keep: the descriptors that stay open; the others are the parent's, and its locks would be held here as well.
    """
    _take_output(output)
    for each in sorted(int(path.name) for path in Path("/dev/fd").iterdir()):
        if each not in {0, 1, 2, *keep}:
            with contextlib.suppress(OSError):  # what listed them
                os.close(each)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(environ)
    _die_with(parent, "forkserver")
    main(descriptor)


def serve_forks(descriptor: int, become: Become) -> None:
    """Fork a child for each request until whoever makes them is gone. What children need is imported before."""
    control = socket.socket(fileno=descriptor)
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()  # the children share these pages as long as the collector leaves them alone
    running: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([descriptor, wake], [], [])
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _tell_ends(running)
        if descriptor in readable:
            packet, descriptors, _, _ = socket.recv_fds(control, _MOST, _MOST_DESCRIPTORS)
            if not packet:
                return
            report = socket.socket(fileno=descriptors.pop(0))
            if (pid := os.fork()) == 0:
                for ours in (wake, woken):
                    os.close(ours)
                for each in (control, report, *running.values()):
                    each.close()
                run_child(partial(_begin, become, orjson.loads(packet), descriptors))
            for given in descriptors:
                os.close(given)
            running[pid] = report
            report.sendall(b"%d" % pid)


def _begin(become: Become, request: dict[str, Any], descriptors: list[int]) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return become(request, descriptors)


def _tell_ends(running: dict[int, socket.socket]) -> None:
    """Tell how each child ended that has ended since; only then is its number given back to the system."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            with running.pop(found.si_pid) as report, contextlib.suppress(OSError):  # nobody may wait any more
                report.sendall(b"%d" % code)
            os.waitpid(found.si_pid, 0)


def _become_child(request: dict[str, Any], output: int, *, parent: int) -> int:
    """Run the placement; return its exit code."""
    _take_output(output)
    os.environ.update(request["environ"])
    placement = TypeAdapter(Placement).validate_python(request["placement"])
    _die_with(parent, placement.node)
    return serve(placement)


def _take_output(output: int) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what modules print is shown at once


def _die_with(parent: int, name: str) -> None:
    """Get SIGTERM when the parent is killed, and be shown under our own name (Linux)."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        libc.prctl(_PR_SET_NAME, name.encode()[:15])
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
