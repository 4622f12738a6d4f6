"""Starts service processes by forking one that has imported everything already: a process more costs no import.

It runs in a process of its own, without threads and without an event loop: both would not survive a fork. Nothing is made
here, least of all an id or a random number: what is in memory at the fork, every child has.

A request and its answer are one line of JSON each over a socket that the supervisor made: ``{"placement", "environ"}`` with
the descriptor of the child's output beside it, answered by ``{"pid"}``; later ``{"pid", "code"}`` tells how a child ended.
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
from typing import Any

import orjson
from pydantic import TypeAdapter

from stylobate.app import HostSettings, Placement
from stylobate.config import ConfigError, Sources
from stylobate.launcher.serving import serve
from stylobate.services import installed_services
from stylobate.telemetry import prepare

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_MOST = 1024 * 1024


def main(descriptor: int) -> None:
    """Serve the supervisor's requests until it closes the socket."""
    control = socket.socket(fileno=descriptor)
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for spec in installed_services().values():
        spec.load()
    with contextlib.suppress(ConfigError):  # the children say it
        if HostSettings.value("trace_endpoint", Sources.of_process()):
            prepare()
    gc.collect()
    gc.freeze()  # the children share these pages as long as the collector leaves them alone
    while True:
        readable, _, _ = select.select([descriptor, wake], [], [])
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _tell_ends(control)
        if descriptor in readable and not _begin(control, [wake, woken]):
            return


def _begin(control: socket.socket, ours: list[int]) -> bool:
    """Fork the child that the next request asks for; False when the supervisor is gone."""
    received, descriptors, _, _ = socket.recv_fds(control, _MOST, 1)
    if not received:
        return False
    while not received.endswith(b"\n"):
        received += control.recv(_MOST)
    (output,) = descriptors
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        for descriptor in ours:
            os.close(descriptor)
        control.close()
        os._exit(_become_child(orjson.loads(received), output, supervisor))
    os.close(output)
    control.sendall(orjson.dumps({"pid": pid}) + b"\n")
    return True


def _become_child(request: dict[str, Any], output: int, parent: int) -> int:
    """Run the placement as a process of its own; return its exit code."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # what modules print is shown at once
        os.environ.update(request["environ"])
        placement = TypeAdapter(Placement).validate_python(request["placement"])
        _die_with(parent, placement.node)
        return serve(placement)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  as the interpreter does it at its end, which a forked child never reaches
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _die_with(parent: int, name: str) -> None:
    """Get SIGTERM when the parent is killed, and be shown under our own name (Linux)."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        libc.prctl(_PR_SET_NAME, name.encode()[:15])
    if os.getppid() != parent:
        raise SystemExit(1)


def _tell_ends(control: socket.socket) -> None:
    """Tell how each child ended that has ended since; only then is its number given back to the system."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        control.sendall(orjson.dumps({"pid": found.si_pid, "code": code}) + b"\n")
        os.waitpid(found.si_pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
