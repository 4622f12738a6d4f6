"""The `stylobate` command under test, as a process of its own: forked from one that has imported everything, or begun anew.

Most of a short command's time, and a good part of a platform's start, is importing; tests run hundreds. Everything else is as if
the command had been typed: its process, session, streams, environment, folder, signals and exit. What the interpreter or a
library takes from the environment before the command begins, such as ``PYTHONUTF8``, has no effect on a fork, and part of its
memory is the server's.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Protocol

from stylobate.launcher.forked import Forked

ANEW = (sys.executable, "-m", "stylobate.launcher")
_WITHIN_S = 120.0


class Command(Protocol):
    """A command that was started; ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Return how it ended (negative: by that signal), None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return how it was. Raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send the signal unless it has ended."""


def start(
    *arguments: str, folder: Path, environ: Mapping[str, str], streams: Sequence[IO[bytes]], is_anew: bool = False
) -> Command:
    """Start `stylobate` with the arguments, in a session of its own.

    :param environ: all of its environment.
    :param streams: its standard input, output and errors.
    :param is_anew: whether to execute it as a person does; else it is a fork.
    """
    if is_anew:
        given, output, errors = streams
        return subprocess.Popen(  # noqa: S603  our own command
            [*ANEW, *arguments], cwd=folder, env=environ, stdin=given, stdout=output, stderr=errors, start_new_session=True
        )
    request = {"arguments": arguments, "folder": folder, "environ": dict(environ)}
    return Forked(_server(), request, [stream.fileno() for stream in streams])


def run(
    *arguments: str, folder: Path, environ: Mapping[str, str], stdin: str = "", within_s: float = _WITHIN_S, is_anew: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run `stylobate` to its end; its output is text. Raises subprocess.TimeoutExpired after ending it."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        given.write(stdin.encode())
        given.seek(0)
        command = start(*arguments, folder=folder, environ=environ, streams=(given, output, errors), is_anew=is_anew)
        try:
            code = command.wait(within_s)
        except subprocess.TimeoutExpired:
            command.send_signal(signal.SIGKILL)
            command.wait(within_s)
            raise
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess(["stylobate", *arguments], code, *texts)


@cache
def _server() -> socket.socket:
    """Start the server, once in this process; it ends when we do. Return what it takes requests from."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}
    with theirs:
        server = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "stylobate.testing.command_server", str(theirs.fileno())],
            env=environ | {"GRPC_VERBOSITY": "NONE"},  # as the command sets it for itself
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours
