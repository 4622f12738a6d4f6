"""The other side of a fork server: asks it for processes and hears how they end."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn

import orjson
import psutil

from stylobate.app.settings import Placement
from stylobate.launcher.embedded import ChildProcess, EmbeddedServerError

_ANSWER_WITHIN_S = 120.0


def run_child(work: Callable[[], int]) -> NoReturn:
    """Do a forked child's work and end it with the code that the work returns, or raises, as the interpreter would do it."""
    code = 1
    try:
        os.setsid()
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  whatever it is, it ends here
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class Forked:
    """A child of a fork server; what of `subprocess.Popen` is needed.

    :param server: what the fork server takes requests from.
    :param descriptors: for the child.
    :raises OSError: the server has ended, or gave no answer.
    """

    def __init__(self, server: socket.socket, request: object, descriptors: Sequence[int]) -> None:
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(server, [orjson.dumps(request, default=os.fspath)], [theirs.fileno(), *descriptors])
        self._code: int | None = None
        self._told.settimeout(_ANSWER_WITHIN_S)
        if not (packet := self._told.recv(32)):
            raise ConnectionResetError("the fork server has ended")
        self.pid = int(packet)
        self._process: psutil.Process | None = None
        with suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(self.pid)

    def poll(self) -> int | None:
        """Return how it ended (negative: by that signal), None while it runs."""
        with suppress(TimeoutError, BlockingIOError):
            self._end(0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return how it was. Raises subprocess.TimeoutExpired."""
        try:
            return self._end(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None

    def send_signal(self, sig: int) -> None:
        """Send the signal unless it has ended."""
        if self.poll() is None and self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.send_signal(sig)

    def _end(self, within_s: float | None) -> int:
        """Return how it ended; killed, where the server was gone before it and nobody knows. Raises TimeoutError."""
        if self._code is None:
            self._told.settimeout(within_s)
            packet = self._told.recv(32)
            # once its server is dead nobody keeps its number from being given to another process, which psutil notices
            if not packet and self._process is not None and self._process.is_running():
                raise TimeoutError
            self._code = int(packet or -signal.SIGKILL)
            self._told.close()
        return self._code


class ForkServer:
    """The fork server of a platform and what it has started. Started again, by the next fork, when it was stopped or has died.

    :param environ: the whole environment of the server and its children.
    :param logs: folder of the outputs.
    :param inherit: descriptors that every child keeps under the same numbers: the platform's listening sockets.
    """

    def __init__(self, environ: Mapping[str, str], logs: Path, inherit: Sequence[int] = ()) -> None:
        self._environ = environ
        self._logs = logs
        self._inherit = inherit
        self._control: socket.socket | None = None
        self._process: ChildProcess | None = None

    def start(self, *, by_fork: bool = False) -> socket.socket:
        """Let it begin to import; the first fork waits for that. Return what it takes requests from.

        :param by_fork: whether it goes on from what this process has imported, which must have no loop and no threads yet.
        :raises EmbeddedServerError: when it cannot be executed.
        """
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = ChildProcess(
                "forkserver",
                [sys.executable, "-m", "stylobate.launcher.forkserver", str(theirs.fileno())],
                log=self._logs / "forkserver.out",
                environ=self._environ,
                inherit=(theirs.fileno(), *self._inherit),
                spawn=partial(self._fork_off, theirs.fileno()) if by_fork else None,
            )
            self._process.start()
        return self._control

    def _fork_off(self, control: int, output: BinaryIO) -> "_Fork":
        """Be the server in a fork, to its end."""
        parent = os.getpid()
        if pid := os.fork():
            return _Fork(pid)

        def serve() -> int:
            from stylobate.launcher.forkserver import become_server  # noqa: PLC0415  only the fork needs what it imports

            become_server(control, output.fileno(), {control, *self._inherit}, self._environ, parent)
            return 0

        run_child(serve)

    async def stop(self) -> None:
        """End the server; its children are ended with it. May be called twice."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if (process := self._process) is not None:
            self._process = None
            await process.stop()

    def child(self, placement: Placement) -> ChildProcess:
        """Return the child that hosts the placement, not started yet."""
        log = self._logs / f"{placement.node}.out"
        return ChildProcess(placement.node, [], log=log, spawn=partial(self._fork, placement))

    @property
    def pid(self) -> int:
        """The server's own process id. Raises RuntimeError while it does not run."""
        if self._process is None:
            raise RuntimeError("the fork server does not run")
        return self._process.pid

    def _fork(self, placement: Placement, output: BinaryIO) -> Forked:
        is_there = self._process is not None and self._process.is_running
        control = self._control if is_there and self._control is not None else self.start()
        request = {"placement": placement, "environ": {"STYLOBATE_LOG_FILE": self._logs / f"{placement.node}.log"}}
        try:
            return Forked(control, request, [output.fileno()])
        except OSError as error:
            said = self._process.last_words() if self._process is not None else ""
            raise EmbeddedServerError(f"{placement.node} could not be started: {said or error}") from error


class _Fork:
    """A fork of this process; what of `subprocess.Popen` is needed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code

    def send_signal(self, sig: int) -> None:
        """Send the signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)
