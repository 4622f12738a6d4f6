"""The supervisor's side of the fork server: starts service processes as forks of one that has imported everything."""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson
import psutil

from stylobate.app.placement import Placement
from stylobate.launcher.embedded import ChildProcess, EmbeddedServerError

_ANSWER_WITHIN_S = 60.0


class ForkServer:
    """One fork server and what it has started. Started again, by the next fork, when it was stopped or has died.

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
        self._heard = b""
        self._begun: list[int] = []
        self._ends: dict[int, int] = {}

    def start(self) -> None:
        """Let it begin to import; the first fork waits for that. Raises EmbeddedServerError when it cannot be executed."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = ChildProcess(
                "forkserver",
                [sys.executable, "-m", "stylobate.launcher.forkserver", str(theirs.fileno())],
                log=self._logs / "forkserver.out",
                environ=self._environ,
                inherit=(theirs.fileno(), *self._inherit),
            )
            self._process.start()
        ours.settimeout(_ANSWER_WITHIN_S)
        self._control, self._heard = ours, b""

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

    def ended(self, pid: int, process: psutil.Process | None) -> int | None:
        """Return how a child has ended, None while it runs.

        :param process: the child; None where it was gone before anybody looked. Once its server is dead nobody keeps its number
            from being given to another process.
        """
        is_gone = process is None or not process.is_running()
        self._listen()
        if is_gone and pid not in self._ends:
            self._ends[pid] = -signal.SIGKILL  # its server was gone before it, and nobody knows
        return self._ends.get(pid)

    @property
    def pid(self) -> int:
        """The server's own process id. Raises RuntimeError while it does not run."""
        if self._process is None:
            raise RuntimeError("the fork server does not run")
        return self._process.pid

    @property
    def _is_alive(self) -> bool:
        return self._control is not None and self._process is not None and self._process.is_running

    def _fork(self, placement: Placement, output: BinaryIO) -> "_Forked":
        if not self._is_alive:
            self.start()
        control = self._control
        if control is None:
            raise EmbeddedServerError("the fork server is stopping")
        request = {
            "placement": orjson.Fragment(orjson.dumps(placement, default=os.fspath)),
            "environ": {"STYLOBATE_LOG_FILE": str(self._logs / f"{placement.node}.log")},
        }
        try:
            socket.send_fds(control, [orjson.dumps(request) + b"\n"], [output.fileno()])
            while not self._begun:
                self._hear()
        except OSError as error:
            said = self._process.last_words() if self._process is not None else ""
            raise EmbeddedServerError(f"{placement.node} could not be started: {said or error}") from error
        return _Forked(self, self._begun.pop())

    def _listen(self) -> None:
        """Take what was told since; nothing while there is nothing."""
        with contextlib.suppress(ConnectionError):
            while self._control is not None and select.select([self._control], [], [], 0)[0]:
                self._hear()

    def _hear(self) -> None:
        """Take what the server tells next. Raises ConnectionResetError when it has ended."""
        received = self._control.recv(65536) if self._control is not None else b""
        if not received:
            raise ConnectionResetError("the fork server has ended")
        *lines, self._heard = (self._heard + received).split(b"\n")
        for line in lines:
            told: dict[str, int] = orjson.loads(line)
            if "code" in told:
                self._ends[told["pid"]] = told["code"]
            else:
                self._ends.pop(told["pid"], None)  # the number was an earlier child's
                self._begun.append(told["pid"])


class _Forked:
    """A child of the fork server, as ChildProcess sees it."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid: int = pid
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self._server.ended(self.pid, self._process)

    def send_signal(self, sig: int) -> None:
        """Send the signal unless it has ended."""
        if self.poll() is None and self._process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.send_signal(sig)
