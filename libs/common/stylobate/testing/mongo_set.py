"""A replica set of three real ``mongod`` on loopback, for tests that take its primary away."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from stylobate.launcher.embedded.mongodb import DATABASE, SET, EmbeddedMongo
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

_MEMBERS = 3
_WITHIN = timedelta(seconds=60)
_ANSWER_MS = 2000
_STOPS_MS = 20_000
_FETCHING = "stopReplProducer"
_PARAMETERS = {"enableTestCommands": "1"}
"""So that a member can be told to lag."""


class MongoSet:
    """Three members; each may become the primary. Members are known by their address, ``host:port``."""

    def __init__(self, folder: Path, *, election_timeout: timedelta) -> None:
        """Describe it; nothing runs yet. Raises EmbeddedServerError where there is no ``mongod``."""
        self._thread = ThreadPoolExecutor(1)  # a server ends with the thread that started it
        self._servers: dict[str, EmbeddedMongo] = {}
        for number in range(_MEMBERS):
            server = EmbeddedMongo(folder / str(number), free_ports(1), parameters=_PARAMETERS)
            self._servers[urlsplit(server.url).netloc] = server
        self._election_ms = _milliseconds(election_timeout)

    @classmethod
    @contextmanager
    def run(cls, folder: Path, *, election_timeout: timedelta = timedelta(seconds=10)) -> Iterator[Self]:
        """Run one for as long as the block; all three answer.

        :param election_timeout: how long the others do without a sign of the primary before they elect one.
        """
        made = cls(folder, election_timeout=election_timeout)
        try:
            for member in made.members:
                made.start(member)
            made._begin()
            yield made
        finally:
            for server in made._servers.values():
                made._in_thread(server.stop)
            made._thread.shutdown()

    @property
    def members(self) -> list[str]:
        """The addresses."""
        return [*self._servers]

    @property
    def url(self) -> str:
        """The address of the set for MongoManager."""
        return f"mongodb://{','.join(self.members)}/{DATABASE}?replicaSet={SET}"

    def start(self, member: str) -> None:
        """Start a member; it comes to the others by itself."""
        self._in_thread(self._servers[member].start)

    def kill(self, member: str) -> None:
        """``kill -9`` a member."""
        process = self._servers[member].process

        async def down() -> None:
            process.kill()
            await process.wait()

        self._in_thread(down)

    def freeze(self, member: str, *, freezes: bool) -> None:
        """Have a member answer nothing, though its connections stay, or go on."""
        os.kill(self._servers[member].process.pid, signal.SIGSTOP if freezes else signal.SIGCONT)

    def step_down(self) -> str:
        """Have the primary hand over to another member, not to return for a minute; return which it was."""
        primary = self.primary()
        with suppress(ConnectionFailure), self.ask(primary) as client:
            client.admin.command("replSetStepDown", 60)
        return primary

    def let_stand(self, member: str) -> None:
        """Let a member that has handed over be elected again before its minute is over."""
        with self.ask(member) as client:
            client.admin.command("replSetFreeze", 0)

    def elect_after(self, timeout: timedelta) -> None:
        """Have the members do that long without a sign of the primary before they elect another one."""
        with self.ask(self.primary()) as client:
            config = client.admin.command("replSetGetConfig")["config"]
            config["version"] += 1
            config["settings"]["electionTimeoutMillis"] = _milliseconds(timeout)
            client.admin.command("replSetReconfig", config)
        self.settle()

    def primary(self) -> str:
        """Return which member takes writes, waiting for one."""
        found: list[str] = []

        def is_there() -> bool:
            found[:] = [member for member in self.members if self._says(member).get("isWritablePrimary")]
            return bool(found)

        _wait(is_there, "the set has no primary")
        return found[0]

    def settle(self) -> None:
        """Wait until every member is the primary or follows it."""

        def is_whole() -> bool:
            said = [self._says(member) for member in self.members]
            return sum(bool(one.get("isWritablePrimary")) for one in said) == 1 and all(
                one.get("isWritablePrimary") or one.get("secondary") for one in said
            )

        _wait(is_whole, "the set is not whole")

    def lag(self, member: str, *, lags: bool) -> None:
        """Have a member fetch nothing from the primary, or all of it again; it votes meanwhile. Returns when that holds."""
        with self.ask(member) as client:
            before = client.admin.command("configureFailPoint", _FETCHING, mode="alwaysOn" if lags else "off")["count"]
            if lags:
                client.admin.command("waitForFailPoint", _FETCHING, timesEntered=before + 1, maxTimeMS=_STOPS_MS)

    @contextmanager
    def ask(self, member: str) -> Iterator[MongoClient[dict[str, Any]]]:
        """Give a client of one member alone."""
        client: MongoClient[dict[str, Any]] = MongoClient(
            f"mongodb://{member}/?directConnection=true", serverSelectionTimeoutMS=_ANSWER_MS, tz_aware=True
        )
        try:
            yield client
        finally:
            client.close()

    def _says(self, member: str) -> dict[str, Any]:
        try:
            with self.ask(member) as client:
                return client.admin.command("hello")
        except PyMongoError:
            return {}

    def _begin(self) -> None:
        members = [{"_id": number, "host": member} for number, member in enumerate(self.members)]
        # nobody follows a member that was told to lag
        settings = {"electionTimeoutMillis": self._election_ms, "chainingAllowed": False}
        config = {"_id": SET, "members": members, "settings": settings}

        def is_begun() -> bool:
            with suppress(ConnectionFailure, OperationFailure), self.ask(self.members[0]) as client:
                client.admin.command("replSetInitiate", config)
            return bool(self._says(self.members[0]).get("setName"))

        _wait(is_begun, "the set was not begun")
        self.settle()

    def _in_thread(self, do: Callable[[], Awaitable[Any]]) -> None:
        async def done() -> None:
            await do()

        self._thread.submit(asyncio.run, done()).result()


def _milliseconds(time: timedelta) -> int:
    return round(time.total_seconds() * 1000)


def _wait(that: Callable[[], bool], otherwise: str) -> None:
    if not wait_until(that, _WITHIN):
        raise AssertionError(otherwise)
