"""The servers that publish to many sockets: how one connects to each, and how each is made to publish."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from stylobate.ids import new_id
from stylobate_auth.jwt_manager import JWTManager, signing_key
from stylobate_auth.key_ring import KeyRing
from stylobate_auth.model import Account, Session

from bench import node
from bench.processes import HOST, Processes, Worker
from bench.servers import QUICK_HASHES, SETTINGS, STORES, platform, raw_broadcast, users
from bench.sockets import MARK

OURS, RAW, SOCKET_IO = "Stylobate", "raw transport.write", "Socket.IO"
TEXT = MARK + "x" * 99
"""What is published."""
_KEY = "the benchmark signs tokens itself, one for each socket"
_NO_PINGS = {"STYLOBATE_REALTIME_PING_INTERVAL": "3600s"}
"""For all of the servers: the receiving side only counts."""


class Broadcaster:
    """A server with sockets connected to it."""

    def __init__(
        self,
        name: str,
        processes: Processes,
        sockets: Worker,
        opening: dict[str, Any],
        *,
        publish_at: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it; nothing is connected yet.

        :param opening: the job for the sockets. :param publish_at: where a POST makes it publish.
        """
        self.name = name
        self._processes = processes
        self._sockets = sockets
        self._opening = opening
        self._client = httpx.Client(base_url=f"http://{HOST}:{opening['port']}", timeout=30, headers=headers)
        self._path = publish_at

    def connect(self, count: int) -> None:
        """Open that many more sockets and wait until each is subscribed."""
        self._ask(self._opening | {"do": "open", "count": count})

    def publish(self, count: int) -> None:
        """Let the server publish this many messages at once; 0: let it collect its garbage."""
        self._client.post(self._path, json={"count": count, "text": TEXT}).raise_for_status()

    def wait(self, deliveries: int) -> None:
        """Wait until the sockets have got that many more. Raises RuntimeError when they do not."""
        if missing := self._ask({"do": "await", "deliveries": deliveries})["missing"]:
            raise RuntimeError(f"{self.name}: {missing} of {deliveries} deliveries did not come")

    def cpu_seconds(self) -> float:
        """Return the CPU time used, stores apart."""
        return sum(used for name, used in self._processes.cpu_seconds().items() if name not in STORES)

    def pss_mb(self) -> float:
        """Return the proportional set size in MB, stores apart."""
        return sum(pss for name, (_, pss) in self._processes.memory_mb().items() if name not in STORES)

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        answer = self._sockets.ask(job)
        if answer["fault"]:
            raise RuntimeError(f"{self.name}: {answer['fault']}")
        return answer


@contextlib.contextmanager
def ours(count: int) -> Iterator[Broadcaster]:
    """Run the platform in one process, for that many sockets: each with a user and a token of its own."""
    environment = SETTINGS | QUICK_HASHES | _NO_PINGS | {"STYLOBATE_AUTH_SIGNING_KEY": _KEY}
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder), environment=environment) as (port, processes):
        (publisher,) = users(port, 1)
        headers = {"authorization": f"Bearer {publisher.token}"}
        subscribe = '{"id":2,"subscribe":{"channel":"bench:all"}}'
        hellos = [[f'{{"id":1,"connect":{{"token":"{token}"}}}}\n{subscribe}'] for token in _tokens(count)]
        opening = _opening(port, path="/connection/websocket", hellos=hellos, ready='"id":2')
        with Worker.open("sockets") as sockets:
            yield Broadcaster(OURS, processes, sockets, opening, publish_at="/v1/actions/bench.announce", headers=headers)


@contextlib.contextmanager
def raw() -> Iterator[Broadcaster]:
    """Run the baseline."""
    with raw_broadcast() as (port, processes), Worker.open("sockets") as sockets:
        yield Broadcaster(RAW, processes, sockets, _opening(port, path="/", hellos=[[]], ready="101"))


@contextlib.contextmanager
def socket_io() -> Iterator[Broadcaster | None]:
    """Run Socket.IO; None where it cannot be installed."""
    if (folder := node.install("socketio")) is None:
        yield None
        return
    with node.peer(folder) as (port, processes), Worker.open("sockets") as sockets:
        opening = _opening(port, path="/socket.io/?EIO=4&transport=websocket", hellos=[["40"]], ready="40{")
        yield Broadcaster(SOCKET_IO, processes, sockets, opening)


def _opening(port: int, **how: Any) -> dict[str, Any]:
    return {"host": HOST, "port": port, **how}


def _tokens(count: int) -> list[str]:
    """Return access tokens of users who never logged in: a socket needs a signature that holds, and no account."""
    signer, now = JWTManager(KeyRing.of(signing_key(_KEY)), timedelta(hours=1)), datetime.now(UTC)
    end = now + signer.lifetime
    tokens = []
    for number in range(count):
        account = Account(
            "default", new_id(), f"socket-{number}@example.com", "", ("user",), email_verified=False, created_at=now
        )
        tokens.append(signer.sign(account, Session("default", new_id(), account.id, now, end, end), now))
    return tokens
