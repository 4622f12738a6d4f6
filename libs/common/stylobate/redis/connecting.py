"""Connecting: to the server that takes writes, of several hosts the one that does, behind Sentinels the one that they name."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from stylobate.errors import RedisUnavailableError
from stylobate.redis.address import RedisAddress
from stylobate.redis.entering import enter
from stylobate.redis.faults import UNKNOWN_MASTER, UNTRUSTED, is_refusal, unavailable
from stylobate.redis.link import Link


async def connect(
    address: RedisAddress,
    loop: asyncio.AbstractEventLoop,
    *,
    connect_s: float,
    timeout_s: float,
    pushed: Callable[[list[Any]], None] | None = None,
) -> Link:
    """Return a link that is let in, to the server that takes writes; every host is tried once.

    :param timeout_s: what a command may take, and ``pushed``, as :class:`~stylobate.redis.link.Link` has them.
    :raises RedisUnavailableError: when there is none; its cause is what the first said that does not let us in, else the last.
    """
    if not address.master:
        return await _first(address, loop, lambda: Link(loop, timeout_s, pushed), connect_s)
    host, port = await named_by_sentinels(address, loop, connect_s)
    found = address.at(host, port, takes_writes=True)
    try:
        return await _first(found, loop, lambda: Link(loop, timeout_s, pushed), connect_s)
    except RedisUnavailableError as error:
        cause = error.metadata["cause"]
        if is_refusal(cause):
            raise
        raise unavailable(f"{host}:{port}, which Sentinel says is {address.master}: {cause}") from error


async def _first(address: RedisAddress, loop: asyncio.AbstractEventLoop, make: Callable[[], Link], connect_s: float) -> Link:
    cause = ""
    for _ in range(address.tries):
        try:
            return await enter(address, loop, make, connect_s)
        except ssl.SSLCertVerificationError as error:
            said = f"{UNTRUSTED}: {error.verify_message}"
        except RedisUnavailableError as error:
            said = error.metadata["cause"]
        except Exception as error:  # noqa: BLE001  a refusal (redis-py's type, see faults.py) or an OSError: the next host
            said = f"{type(error).__name__}: {str(error) or f'no answer within {connect_s:g} s'}"
        cause = cause if is_refusal(cause) else said
        address.skip()
    raise unavailable(cause)


async def named_by_sentinels(address: RedisAddress, loop: asyncio.AbstractEventLoop, connect_s: float) -> tuple[str, int]:
    """Ask Sentinels, one after the other, which server the master is. The one that answered is asked first the next time."""
    cause, sentinels = "", address.of_sentinels
    for _ in range(address.tries):
        one = sentinels.at(*address.current)
        one.kind = "sentinel"
        where = f"Sentinel {one}"
        try:
            link = await _first(one, loop, lambda: Link(loop, connect_s), connect_s)
            try:
                found = await link.send("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master)
                if found is not None:
                    return found[0].decode(), int(found[1])
                known = [
                    dict(zip(some[::2], some[1::2], strict=True))[b"name"].decode()
                    for some in await link.send("SENTINEL", "MASTERS")
                ]
                said = f"{where} {UNKNOWN_MASTER}, {address.master!r}: it watches {', '.join(sorted(known)) or 'none'}"
            finally:
                link.abort("asked")
        except RedisUnavailableError as error:
            said = f"{where}: {error.metadata['cause']}"
        except Exception as error:  # noqa: BLE001  a refusal, of redis-py's type (see faults.py)
            said = f"{where}: {error}"
        cause = cause if is_refusal(cause) else said
        address.skip()
    raise unavailable(cause)
