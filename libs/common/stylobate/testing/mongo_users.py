"""A real ``mongod`` with access control, for tests of users, passwords and rights."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pymongo import AsyncMongoClient

from stylobate.launcher.embedded.mongodb import EmbeddedMongo
from stylobate.testing.ports import free_ports

_ROOT = "root"


class MongoWithUsers:
    """A set of one that asks who comes. The user ``root`` may do everything."""

    def __init__(self, server: EmbeddedMongo) -> None:
        self._server = server

    @classmethod
    @asynccontextmanager
    async def run(cls, folder: Path) -> AsyncIterator[Self]:
        """Run one for as long as the block. Raises EmbeddedServerError where there is no ``mongod``."""
        key = folder / "members.key"
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("a key that the members of a set share")
        made = cls(EmbeddedMongo(folder / "data", free_ports(1), options={"keyFile": str(key)}))
        await made._server.start()
        try:
            await made._server.ready()  # it lets in from this machine as long as it has no user
            async with AsyncMongoClient[dict[str, Any]](made._server.url) as client:
                roles = [{"role": "root", "db": "admin"}]
                await client.admin.command("createUser", _ROOT, pwd=_ROOT, roles=roles)
            yield made
        finally:
            await made._server.stop()

    def url(self, user: str = _ROOT, password: str = _ROOT, name: str = "stylobate") -> str:
        """Return the address as a user has it. :param name: before the services' names, in those of their databases."""
        where = self._server.url.replace("mongodb://", f"mongodb://{quote(user)}:{quote(password)}@")
        return where.replace("/stylobate?", f"/{name}?authSource=admin&")

    async def command(self, name: str, value: Any, database: str = "admin", **options: Any) -> dict[str, Any]:
        """Run a command as ``root``."""
        async with AsyncMongoClient[dict[str, Any]](self.url()) as client:
            return await client.get_database(database).command(name, value, **options)
