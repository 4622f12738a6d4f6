# ruff: noqa: SLF001  it looks into its own kind of server
"""A primary and a standby of it, both real."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.until import until


class Pair:
    """A primary and a standby of it, both real, in folders of their own."""

    def __init__(self, folder: Path) -> None:
        self._runs = [run_folder(folder / name) for name in ("one", "two")]
        self.primary = EmbeddedPostgres(folder / "one", self._runs[0], options={"max_wal_senders": "4"})
        self.standby = EmbeddedPostgres(folder / "two", self._runs[1], options={"hot_standby": "on"})
        self._folder = folder

    @property
    def url(self) -> str:
        """The address of both: of whichever takes writes."""
        hosts = ",".join(quote(str(server._run), safe="/") for server in (self.primary, self.standby))
        return f"postgresql://stylobate@/stylobate?host={hosts}&port=5432,5432&target_session_attrs=read-write"

    async def begin(self) -> None:
        """Start the primary, copy it, start the standby."""
        give_empty_cluster(self._folder / "one")
        await self.primary.start()
        await self.primary.ready()
        (self._folder / "two").mkdir(exist_ok=True)
        server = self.primary
        server._unprivileged.give(self._folder / "two")
        command = [
            *(*server._unprivileged.prefix, server._programs / "pg_basebackup", "-R", "-X", "stream", "-c", "fast"),
            *("-D", self._folder / "two" / "cluster", "-d", self.primary.url),
        ]
        environ = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
        copied = await asyncio.create_subprocess_exec(*map(str, command), env=environ, user=server._unprivileged.user)
        if await asyncio.wait_for(copied.wait(), 60):
            raise RuntimeError("the primary was not copied")
        await self.standby.start()
        await self.standby.ready()

    async def ask(self, server: EmbeddedPostgres, query: str) -> Any:
        """Ask one of the two."""
        connection = await asyncpg.connect(server.url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def caught_up(self) -> None:
        """Wait until the standby has everything."""
        end = await self.ask(self.primary, "select pg_current_wal_lsn()::text")
        await until(lambda: self.ask(self.standby, f"select pg_last_wal_replay_lsn() >= '{end}'"), within_s=30)

    async def cut(self) -> None:
        """Let nothing more reach the standby."""
        await self.ask(self.standby, "alter system set primary_conninfo = ''")
        await self.ask(self.standby, "select pg_reload_conf()")
        await until(
            lambda: self.ask(self.primary, "select count(*) from pg_stat_replication"), lambda found: not found, within_s=30
        )

    async def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        if self.primary.process.pid is not None:
            os.kill(self.primary.process.pid, signal.SIGKILL)
        await self.primary.stop()
        await self.ask(self.standby, "select pg_promote()")

    async def end(self) -> None:
        """Stop both."""
        for server in (self.primary, self.standby):
            with suppress(Exception):
                await server.stop()
        for run in self._runs:
            shutil.rmtree(run, ignore_errors=True)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """Give a running primary with a standby."""
    both = Pair(folder)
    try:
        await both.begin()
        yield both
    finally:
        await both.end()
