"""A child process: its own session, output to a file, identified by pid and start time, stopped with certainty."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:  # of the extra `local`: a container, which has it not, runs what imports this
    import psutil

_LOOK_AGAIN_S = 0.02
_ASK_AGAIN_S = 0.01
_LOG_LIMIT = 16 * 1024 * 1024
_START_TOLERANCE_S = 0.05
_OF_THE_SYSTEM = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


def server_environ() -> dict[str, str]:
    """Return the environment of an embedded server: nothing that was meant for another program; C locale, UTC."""
    return {name: os.environ[name] for name in _OF_THE_SYSTEM if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}


class EmbeddedServerError(Exception):
    """A child could not be started or did not get ready; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What identifies a process for good: a pid alone is given out again by the system."""

    name: str
    pid: int
    started: float
    """Seconds since the epoch, as the system says."""
    stop_signal: int = signal.SIGTERM

    @classmethod
    def of_this(cls, name: str) -> "ProcessRecord":
        """Return what identifies the calling process."""
        import psutil

        return cls(name, os.getpid(), psutil.Process().create_time())

    def process(self) -> "psutil.Process | None":
        """Return the process while it is this one and runs; a zombie does not run."""
        import psutil

        try:
            found = psutil.Process(self.pid)
            is_same = abs(found.create_time() - self.started) < _START_TOLERANCE_S
            # a killed process is a zombie from the end of its first thread on; the others may still hold its ports
            has_ended = found.status() == psutil.STATUS_ZOMBIE and found.num_threads() <= 1
            return found if is_same and not has_ended else None
        except psutil.NoSuchProcess:
            return None

    @property
    def is_running(self) -> bool:
        """Whether this very process runs."""
        return self.process() is not None

    async def stop(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """End the process, which need not be our child: the signal, a wait, SIGKILL; then what it left behind in its group."""
        self.send_signal(self.stop_signal)
        if not await self._gone(grace):
            self.send_signal(signal.SIGKILL)
            await self._gone(grace)
        self.end_group()

    def send_signal(self, number: int) -> None:
        """Send the signal to this very process alone: it need not lead a group. Nothing when it has ended."""
        import psutil

        with suppress(psutil.NoSuchProcess):
            if (found := self.process()) is not None:
                found.send_signal(number)

    def end_group(self) -> None:
        """Kill what is left of the process's group after its own end, such as a busy backend of a killed database.

        As long as something is, the system gives the number to nobody else; where somebody has it, nothing is left.
        """
        import psutil

        with suppress(psutil.NoSuchProcess):
            if abs(psutil.Process(self.pid).create_time() - self.started) >= _START_TOLERANCE_S:
                return
        for found in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(found.pid) == self.pid and found.create_time() >= self.started - _START_TOLERANCE_S:
                    found.kill()

    async def _gone(self, within: timedelta) -> bool:
        deadline = monotonic() + within.total_seconds()
        while self.is_running:
            if monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK_AGAIN_S)
        return True


class Spawned(Protocol):
    """A started child; ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Return how it ended (negative: by that signal), None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Send the signal unless it has ended."""


class ChildProcess:
    """One child. Start it from the main thread: the protection against orphans is bound to the thread that forked."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        user: int | None = None,
        lock: Path | None = None,
        inherit: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
        spawn: Callable[[BinaryIO], Spawned] | None = None,
    ) -> None:
        """Describe the child; nothing runs yet.

        :param log: takes its output and errors, appended; a big one is put aside as ``<log>.1`` at the start.
        :param environ: the whole environment; None: ours.
        :param lock: a file locked as long as the child (and what it forked) lives, whatever becomes of us.
        :param inherit: descriptors of ours that the child keeps, under the same numbers.
        :param user: uid and gid to run as (only root may); None: ours.
        :param spawn: starts the child in place of the command, with its output going to the file given; see ForkServer.
        """
        self.name = name
        self.log = log
        self._command = list(command)
        self._environ = environ
        self._user = user
        self._lock = lock
        self._inherit = inherit
        self._stop_signal = stop_signal
        self._spawn = spawn or self._execute
        self._popen: Spawned | None = None
        self._record: ProcessRecord | None = None

    def start(self) -> None:
        """Start the child, again after its end too. Raises EmbeddedServerError when it cannot be executed."""
        import psutil

        if self._record is not None and not self.is_running:
            self._record.end_group()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        with self.log.open("ab") as output:
            self._popen = self._spawn(output)
        try:
            started = psutil.Process(self._popen.pid).create_time()
        except psutil.NoSuchProcess:  # gone already; whoever waits for it will say so
            started = 0.0
        self._record = ProcessRecord(self.name, self._popen.pid, started, self._stop_signal)

    def _execute(self, output: BinaryIO) -> Spawned:
        with _locked(self._lock) as locked:
            try:
                return subprocess.Popen(  # noqa: S603  the command is built by the launcher
                    [*_die_with_parent(self._stop_signal), *self._command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environ,
                    pass_fds=(*locked, *self._inherit),
                    start_new_session=True,  # its own group too; the terminal's Ctrl-C is for us to pass on
                    user=self._user,
                    group=self._user,
                    extra_groups=None if self._user is None else [],
                )
            except OSError as error:
                raise EmbeddedServerError(f"{self.name} does not start: {error}") from error

    @property
    def record(self) -> ProcessRecord:
        """What identifies the child, to be kept by a supervisor. Raises RuntimeError before the start."""
        if self._record is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._record

    @property
    def pid(self) -> int:
        """The child's process id. Raises RuntimeError before the start."""
        return self.record.pid

    @property
    def returncode(self) -> int | None:
        """How it ended (negative: by that signal); None while it runs or before the start."""
        return None if self._popen is None else self._popen.poll()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    async def wait(self) -> int:
        """Wait for the end; return how it ended. Raises RuntimeError before the start."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        if self._popen.poll() is None and hasattr(os, "pidfd_open"):
            with suppress(ProcessLookupError):  # ended since, and its parent, which need not be us, has taken note
                await _ended(self._popen.pid)
        while True:
            if (code := self._popen.poll()) is not None:
                return code
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def answers(self, ask: Callable[[], Awaitable[bool]], within: timedelta) -> None:
        """Wait until a server answers. Raises EmbeddedServerError when it has ended, or the time is over."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                while True:
                    if not self.is_running:  # looked at first: another server may answer on the same socket
                        raise EmbeddedServerError(f"{self.name} ended at its start: {self.last_words()} (log: {self.log})")
                    if await ask():
                        return
                    await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            raise EmbeddedServerError(
                f"{self.name} gave no answer within {within.total_seconds():.0f} s (log: {self.log})"
            ) from None

    async def stop(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """End the child: its stop signal, at most ``grace`` to comply, then SIGKILL to its whole group. May be repeated."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.send_signal(self._stop_signal)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace.total_seconds()):
                    await self.wait()
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGKILL)
            await self.wait()
            self.record.end_group()
        await self.wait()

    def kill(self) -> None:
        """End the child at once (SIGKILL), itself only, as a crash would."""
        if self._popen is not None:
            self._popen.send_signal(signal.SIGKILL)

    def last_words(self, lines: int = 5) -> str:
        """Return the end of its log as one line, for error messages."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4096))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())


@contextmanager
def _locked(path: Path | None) -> Iterator[tuple[int, ...]]:
    """Give the descriptors for the child to inherit; the lock is let go when the last copy is closed."""
    if path is None:
        yield ()
        return
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedServerError(f"{path.parent} is in use by another process") from None
        yield (file.fileno(),)


async def _ended(pid: int) -> None:
    """Wait until a child of ours has ended, without asking again and again (Linux)."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.cancel)
    try:
        await asyncio.wait([ended])
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _die_with_parent(number: signal.Signals) -> list[str]:
    """Return the prefix that makes a child get the signal when we are killed (Linux; elsewhere the next start cleans up)."""
    tool = shutil.which("setpriv")
    return [tool, f"--pdeathsig={number.name.removeprefix('SIG')}", "--"] if tool is not None else []
