"""A real platform under test: `stylobate up` in a project folder of its own, on free ports, stopped with certainty."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from time import monotonic
from typing import Any, Self

import httpx
import psutil

from stylobate.launcher.embedded import ProcessRecord
from stylobate.launcher.project import Project, RunRecord
from stylobate.services import installed_services
from stylobate.testing import commands
from stylobate.testing.cluster import drop_cluster, give_cluster
from stylobate.testing.commands import Command
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

_PORT_TRIES = 5
_START_WITHIN = timedelta(seconds=180)
_SETTLED_WITHIN = timedelta(seconds=5)
_STOP_WITHIN = timedelta(seconds=60)
_TAIL_LINES = 25
_SERVERS = ("valkey", "postgres", "mongodb")
CHEAP_HASHES = {"STYLOBATE_AUTH_ARGON2_MEMORY_KIB": "8", "STYLOBATE_AUTH_ARGON2_TIME_COST": "1"}
"""Of passwords: by default each costs 40 ms of a core, and whoever is met in a test registers and logs in."""
HASHES_BY_DEFAULT = dict.fromkeys(CHEAP_HASHES, "")


class PlatformFailedError(AssertionError):
    """The platform did not do what it should; the text ends with the last lines of its logs."""


class Platform:
    """One project folder and the platform that runs in it. For tests, which may kill any part of it."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        modules: Sequence[Path] = (),
        environ: Mapping[str, str] | None = None,
        command: str = "up",
        is_anew: bool = False,
    ) -> None:
        """Prepare the project; nothing runs yet.

        :param folder: made if absent; the modules are linked into it.
        :param arguments: of `up`, such as ``"--split"``; the port is chosen here.
        :param command: ``up`` or ``dev``.
        :param environ: settings, ``STYLOBATE_…``; those of the calling process are left out. Passwords are hashed cheaply unless
            it says otherwise or ``is_anew``.
        :param is_anew: whether each of its commands is executed as a person does, when it is given first, and its database is
            made by it, where the start is what is tested; see ``commands`` and ``cluster``.
        """
        self.project = Project(folder)
        self.arguments = arguments
        self._command = command
        self.output = self.project.folder / "up.out"
        """What `up` printed."""
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}
        self._environ |= ({} if is_anew else CHEAP_HASHES) | dict(environ or {})
        self._is_anew = is_anew
        self._given: set[tuple[str, ...]] = set()
        self._up: Command | None = None
        (folder / "modules").mkdir(parents=True, exist_ok=True)
        for module in modules:
            (folder / "modules" / module.name).symlink_to(module.resolve(), target_is_directory=True)

    @classmethod
    @contextmanager
    def run(
        cls,
        folder: Path,
        *arguments: str,
        modules: Sequence[Path] = (),
        environ: Mapping[str, str] | None = None,
        command: str = "up",
        is_anew: bool = False,
        keeps_data: bool = False,
    ) -> Iterator[Self]:
        """Run a platform for as long as the block; raises PlatformFailedError when it does not get ready.

        :param keeps_data: whether another one may run in the folder afterwards; else its database is removed.
        """
        platform = cls(folder, *arguments, modules=modules, environ=environ, command=command, is_anew=is_anew)
        try:
            platform.start()
            yield platform
        finally:
            platform.stop()
            if not keeps_data:
                drop_cluster(platform.project.data / "postgres")

    # its life

    def start(self) -> None:
        """Run `up` and wait until it is ready; the data of an earlier run are kept. Raises PlatformFailedError."""
        for _ in range(_PORT_TRIES):
            self.launch(free_ports())
            if self.is_ready(_START_WITHIN):
                wait_until(
                    lambda: self.status().get("status") == "healthy", _SETTLED_WITHIN
                )  # as `up` itself does before it says so
                return
            self.stop()
            if "is in use" not in self.output.read_text(encoding="utf-8"):  # somebody took a port since we looked
                break
        raise self.failure("`up` did not get ready")

    def launch(self, port: int) -> None:
        """Run `up` from this port on and do not wait."""
        cluster = self.project.data / "postgres"
        if not (self._is_anew or cluster.exists()):
            give_cluster(cluster)
        with self.output.open("wb") as output, Path(os.devnull).open("rb") as nothing:
            self._up = commands.start(
                *(self._command, *self.arguments, "--port", str(port)),
                folder=self.project.folder,
                environ=self._environ,
                streams=(nothing, output, output),
                is_anew=self._is_anew,
            )

    def is_ready(self, within: timedelta) -> bool:
        """Wait until `up` says that every process is ready, or has ended; return whether it is ready."""

        def is_ready_or_over() -> bool:
            return not self.is_running or ((current := self._current()) is not None and current.is_ready)

        return wait_until(is_ready_or_over, within) and self.is_running

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code. Raises PlatformFailedError when it does not end."""
        started = self._started()
        started.send_signal(signal.SIGINT)
        try:
            return started.wait(_STOP_WITHIN.total_seconds())
        except subprocess.TimeoutExpired:
            raise self.failure("it did not end after Ctrl-C") from None

    def stop(self) -> None:
        """Stop whatever of it runs, by force where it must be. May be called twice."""
        if self._up is None:
            return
        left = self.processes()
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._up.wait(_STOP_WITHIN.total_seconds())
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._up.wait()
        psutil.wait_procs(left, timeout=_STOP_WITHIN.total_seconds())
        shutil.rmtree(self.project.run, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """Return every process of the platform that runs: the supervisor, its children, and theirs."""
        roots: dict[int, psutil.Process] = {}
        running = self.project.running()
        for record in (running.supervisor, *running.children) if running is not None else ():
            if (process := record.process()) is not None:
                roots[process.pid] = process
        if self._up is not None and self._up.poll() is None:
            roots[self._up.pid] = psutil.Process(self._up.pid)
        found = dict(roots)
        for root in roots.values():
            with suppress(psutil.NoSuchProcess):
                found |= {child.pid: child for child in root.children(recursive=True)}
        return list(found.values())

    # where it is, how it is

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._started().pid

    @property
    def is_running(self) -> bool:
        """Whether the supervisor runs."""
        return self._up is not None and self._up.poll() is None

    @property
    def endpoints(self) -> dict[str, str]:
        """Addresses by name, as `status --json` lists them."""
        return self._record().endpoints

    @property
    def gateway(self) -> str:
        """The address of the HTTP API."""
        return self.endpoints["gateway"]

    @property
    def realtime(self) -> str:
        """The address of the realtime socket."""
        return self.endpoints["realtime"]

    @property
    def grpc(self) -> dict[str, str]:
        """The gRPC target by service, whichever process hosts it."""
        found = self.endpoints
        targets = {name: found.get(f"grpc {name}", found.get("grpc", "")) for name in installed_services()}
        return {name: target for name, target in targets.items() if target}

    @property
    def children(self) -> dict[str, ProcessRecord]:
        """The supervisor's children by name, as they run now."""
        return {child.name: child for child in self._record().children}

    def kill(self, name: str) -> ProcessRecord:
        """``kill -9`` a child and return what it was."""
        child = self.children[name]
        os.kill(child.pid, signal.SIGKILL)
        return child

    def kill_supervisor(self) -> None:
        """``kill -9`` the supervisor."""
        started = self._started()
        started.send_signal(signal.SIGKILL)
        started.wait()

    def status(self) -> dict[str, Any]:
        """Return what the admin listener says of all processes; empty while it does not answer."""
        try:
            answer: dict[str, Any] = httpx.get(f"{self.endpoints['admin']}/status", timeout=5, verify=NO_TLS).json()
        except (httpx.TransportError, ValueError):
            return {}
        return answer

    def wait_healthy(self, within: timedelta) -> timedelta:
        """Wait until every process is ready and well; return how long that took. Raises PlatformFailedError."""
        began = monotonic()

        def is_healthy() -> bool:
            status = self.status()
            return bool(status.get("ready")) and status.get("status") == "healthy"

        if not wait_until(is_healthy, within):
            raise self.failure(f"not healthy within {within.total_seconds():.0f} s: {self.status()}")
        return timedelta(seconds=monotonic() - began)

    def command(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run another `stylobate` command in the project's folder; its output is text."""
        name = tuple(takewhile(lambda word: not word.startswith("-"), arguments[:2]))
        is_anew = self._is_anew and name not in self._given
        self._given.add(name)
        return commands.run(*arguments, folder=self.project.folder, environ=self._environ, stdin=stdin, is_anew=is_anew)

    def log_files(self) -> list[Path]:
        """Return the log file of each service process: one JSON object a line."""
        return sorted(file for file in self.project.logs.glob("*.log") if file.stem not in _SERVERS)

    def log_tails(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines of what `up` and every process wrote, for a failure's report."""
        parts = []
        for file in (self.output, *sorted(self.project.logs.glob("*.*"))):
            if file.exists() and (text := file.read_text(encoding="utf-8", errors="replace")):
                parts += [f"--- {file.name}", *text.splitlines()[-lines:]]
        return "\n".join(parts)

    def failure(self, what: str) -> PlatformFailedError:
        """Return the error to raise, with the logs' last lines."""
        return PlatformFailedError(f"{what}\n{self.log_tails()}")

    def _current(self) -> RunRecord | None:
        """Return the record of the run that was started here, not of one before."""
        running = self.project.running()
        return running if running is not None and running.supervisor.pid == self._started().pid else None

    def _record(self) -> RunRecord:
        running = self._current()
        if running is None:
            raise self.failure("there is no record of a running platform")
        return running

    def _started(self) -> Command:
        if self._up is None:
            raise RuntimeError("the platform was not started")
        return self._up
