"""Runs `stylobate` commands as forks of a process that has imported what they need; see :mod:`stylobate.testing.commands`.

A request is one packet of JSON, ``{"arguments", "folder", "environ"}``, with four descriptors: standard input, output and errors,
and a socket that is told the command's process id and, at its end, how it ended: a packet each, a number in digits.
"""

import atexit
import contextlib
import gc
import importlib
import io
import os
import pkgutil
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from typing import Any

import orjson

from stylobate.launcher import cli, commands
from stylobate.services import installed_services

_MOST = 1024 * 1024
_IMPORTED_LATER = ("stylobate.launcher.serving",)


def main(descriptor: int) -> None:
    """Serve requests until whoever made them is gone."""
    control = socket.socket(fileno=descriptor)
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _import_all()
    gc.collect()
    gc.freeze()
    running: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([descriptor, wake], [], [])
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _tell_ends(running)
        if descriptor in readable and not _begin(control, running, (wake, woken)):
            return


def _import_all() -> None:
    """Import all that commands import when they are called."""
    for spec in installed_services().values():
        spec.load()
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{module.name}")
    for name in _IMPORTED_LATER:
        importlib.import_module(name)


def _begin(control: socket.socket, running: dict[int, socket.socket], ours: tuple[int, ...]) -> bool:
    """Fork the command that the next request asks for; False when nobody asks any more."""
    packet, descriptors, _, _ = socket.recv_fds(control, _MOST, 4)
    if not packet:
        return False
    *streams, report = descriptors
    told = socket.socket(fileno=report)
    if (pid := os.fork()) == 0:
        for descriptor in ours:
            os.close(descriptor)
        for each in (control, told, *running.values()):
            each.close()
        os._exit(_command(orjson.loads(packet), streams))
    for stream in streams:
        os.close(stream)
    running[pid] = told
    told.sendall(b"%d" % pid)
    return True


def _command(request: dict[str, Any], streams: list[int]) -> int:
    """Run the command in this process, as the interpreter would from its beginning to its end; return the exit code."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, mode, closefd=False), encoding="utf-8", errors=errors, line_buffering=number == 2)  # noqa: SIM115, PLR2004
        for number, mode, errors in ((0, "rb", "strict"), (1, "wb", "strict"), (2, "wb", "backslashreplace"))
    )
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    tempfile.tempdir = None
    os.chdir(request["folder"])
    sys.argv = ["stylobate", *request["arguments"]]
    try:
        code = _ended_with(cli.main)
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  no other way to wait for threads as the interpreter does
        atexit._run_exitfuncs()  # noqa: SLF001
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001  as at the interpreter's end
        sys.excepthook(*sys.exc_info())
        code = 1
    return code


def _ended_with(main: Any) -> int:
    try:
        main()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    return 0


def _tell_ends(running: dict[int, socket.socket]) -> None:
    """Tell whoever waits how each command ended that has ended since."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with running.pop(pid) as told, contextlib.suppress(OSError):  # nobody may wait any more
            told.sendall(b"%d" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]))
