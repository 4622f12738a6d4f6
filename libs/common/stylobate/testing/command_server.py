"""Runs `stylobate` commands as forks of a process that has imported what they need; see :mod:`stylobate.testing.commands`.

A request (see :mod:`stylobate.launcher.forkserver`) is ``{"arguments", "folder", "environ"}``, with standard input, output and
errors.
"""

import atexit
import importlib
import io
import os
import pkgutil
import signal
import sys
import tempfile
import threading
import time
from typing import Any

from stylobate.launcher import cli, commands
from stylobate.launcher.forkserver import serve_forks
from stylobate.launcher.lasting import CONTAINER, PLATFORM
from stylobate.services import installed_services


def main(descriptor: int) -> None:
    """Serve requests until whoever made them is gone."""
    _import_all()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that run under `nohup` are no commands that do
    serve_forks(descriptor, _command)


def _import_all() -> None:
    """Import all that commands import when they are called."""
    for spec in installed_services().values():
        spec.load()
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"{commands.__name__}.{module.name}")
    for program in (PLATFORM, CONTAINER):  # what a lasting command goes on as
        importlib.import_module(program)


def _command(request: dict[str, Any], streams: list[int]) -> int:
    """Run the command in this process, as the interpreter would from its beginning to its end; return the exit code."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
    code = _ended_with(cli.main)
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  no other way to wait for threads as the interpreter does
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
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


if __name__ == "__main__":
    main(int(sys.argv[1]))
