"""New databases at servers of either kind, for a test alone."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from stylobate.database.address import is_mongodb
from stylobate.testing.databases import Databases


@asynccontextmanager
async def fresh_databases(servers: Mapping[str, str]) -> AsyncIterator[dict[str, str]]:
    """Give, for each URL of a server, that of a database there that is new; they are dropped at the end."""
    async with AsyncExitStack() as stack:
        fresh: dict[str, str] = {}
        for name, url in servers.items():
            if is_mongodb(url):
                from stylobate.testing.mongodb import MongoDatabases  # noqa: PLC0415  its driver, for whoever has one

                made = MongoDatabases(url)
                stack.callback(made.close)
                fresh[name] = await stack.enter_async_context(made.empty())
            else:
                fresh[name] = await stack.enter_async_context(Databases(url).empty())
        yield fresh
