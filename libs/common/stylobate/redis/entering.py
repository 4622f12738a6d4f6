"""Being let in to one server: who we are, which database, and whether it is what the URL says."""

import asyncio
import re
from collections.abc import Callable

from stylobate.errors import RedisUnavailableError
from stylobate.redis.address import RedisAddress
from stylobate.redis.faults import OTHER_KIND, unavailable
from stylobate.redis.link import Link

_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
_MODE = re.compile(rb"^(?:redis|server)_mode:(\w+)", re.MULTILINE)
_MASTERS = re.compile(rb"^cluster_size:(\d+)", re.MULTILINE)


async def enter(address: RedisAddress, loop: asyncio.AbstractEventLoop, make: Callable[[], Link], connect_s: float) -> Link:
    """Return a link to the current server that is let in. Raises what keeps it out."""
    async with asyncio.timeout(connect_s):
        link = await address.open(loop, make)
    try:
        async with asyncio.timeout(connect_s):
            await _enter(link, address)
    finally:
        if not link.is_entered:
            link.abort("not let in")
    return link


async def _enter(link: Link, address: RedisAddress) -> None:
    """Authenticate, choose the database, and make sure of the server's kind, and of its role where there are several."""
    if address.hosts:
        link.peer = address.current
    if address.password:
        await link.send("AUTH", *((address.username,) if address.username else ()), address.password)
    if address.database:
        await link.send("SELECT", address.database)
    if address.takes_writes:
        role = await link.send("ROLE")
        if role[0] != b"master":
            raise unavailable("ReadOnlyError: it is a replica")
    await link.send("PING")
    said = await _asked(link, "INFO", "server")
    run_id, mode = _RUN_ID.search(said), _MODE.search(said)
    link.run_id = run_id[1] if run_id else b""
    if mode is not None:
        await _check_kind(link, address, mode[1].decode())
    link.is_entered = True


async def _check_kind(link: Link, address: RedisAddress, mode: str) -> None:
    """Raise where the server is not what the URL says; a Cluster of one master is like a single server."""
    tls = "rediss" if address.tls else "redis"
    if mode == "sentinel" and address.kind != "sentinel":
        raise unavailable(f"it is a Sentinel: {OTHER_KIND} {tls}+sentinel:// and names the master behind the hosts")
    if mode == "cluster" and address.kind == "single":
        masters = _MASTERS.search(await _asked(link, "CLUSTER", "INFO"))
        if masters is not None and int(masters[1]) > 1:
            raise unavailable(f"it is a node of a Cluster: {OTHER_KIND} {tls}+cluster://")
    if address.kind not in {mode, "single"}:
        raise unavailable(
            f"it is not a {'Sentinel' if address.kind == 'sentinel' else 'node of a Cluster'}: {OTHER_KIND} {tls}://"
        )


async def _asked(link: Link, *command: str) -> bytes:
    """Return what the server says of itself; nothing to a user who may not ask."""
    try:
        said: bytes = await link.send(*command)
    except RedisUnavailableError:
        raise
    except Exception:  # noqa: BLE001  redis-py's type, see faults.py
        return b""
    return said
