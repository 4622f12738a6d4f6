"""One command to one Valkey, by a connection of its own: for what tests do to servers behind the platform's back."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import hiredis

from stylobate.testing.ports import HOST


async def valkey_call(
    where: Path | int, *arguments: str | int | bytes, password: str = "", tls: ssl.SSLContext | None = None
) -> Any:
    """Return the reply.

    :param where: a socket, or a port on loopback. :param tls: of a port that speaks it.
    :raises RuntimeError: the server refuses.
    """
    if isinstance(where, int):
        reader, writer = await asyncio.open_connection(HOST, where, ssl=tls)
    else:
        reader, writer = await asyncio.open_unix_connection(str(where))
    parser = hiredis.Reader()
    try:
        for command in (*([("AUTH", password)] if password else ()), arguments):
            writer.write(hiredis.pack_command(command))
            while (reply := parser.gets()) is False:
                data = await reader.read(65536)
                if not data:
                    raise ConnectionResetError
                parser.feed(data)
    finally:
        writer.close()
    if isinstance(reply, Exception):
        raise RuntimeError(f"{arguments}: {reply}")  # noqa: TRY004  it is what the server says
    return reply
