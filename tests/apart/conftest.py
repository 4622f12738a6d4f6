"""A platform with a second PostgreSQL, in which some namespaces stand."""

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.testing.cluster import give_cluster


class Archive:
    """The second server."""

    def __init__(self, folder: Path, run: Path) -> None:
        give_cluster(folder / "archive")
        self._server = EmbeddedPostgres(folder / "archive", run)
        self._thread = ThreadPoolExecutor(max_workers=1)  # a server ends with the thread that started it

    @property
    def url(self) -> str:
        """Where it is."""
        return self._server.url

    def start(self) -> None:
        """Let it run."""

        async def up() -> None:
            await self._server.start()
            await self._server.ready()

        self._thread.submit(asyncio.run, up()).result()

    def stop(self) -> None:
        """End it."""
        self._thread.submit(asyncio.run, self._server.stop()).result()

    def further(self, name: str) -> str:
        """Make another database and return where it is."""
        self.ask(f"create database {name}")
        return self.url.replace("/stylobate?", f"/{name}?")

    def ask(self, query: str, *args: object, url: str = "") -> Any:
        """Return the first value of the answer, of another database than its own where one is named."""

        async def asked() -> Any:
            connection = await asyncpg.connect(url or self.url)
            try:
                return await connection.fetchval(query, *args)
            finally:
                await connection.close()

        return asyncio.run(asked())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Give the second server, running."""
    folder = tmp_path_factory.mktemp("archive")
    run = run_folder(folder)
    server = Archive(folder, run)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(run, ignore_errors=True)
