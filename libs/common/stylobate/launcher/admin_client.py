"""Asks the admin listener of one process over its unix socket: a request, and a connection that is its own.

A library for HTTP would cost the supervisor a tenth of a second at its start and several megabytes for as long as it runs.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

import httptools

_WITHIN_S = 2.0
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """What a process answered."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether it did what it was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


async def ask(
    socket: str, path: str, *, method: str = "GET", accept: str = "*/*", peer: str = "", content: bytes = b""
) -> Answered:
    """Return the answer of the process that listens on the socket.

    :param peer: whom it is asked for, see ``peer_of``; empty: nobody.
    :raises OSError: nobody listens, or there was no whole answer in time.
    """
    on_whose_behalf = f"x-forwarded-for: {peer}\r\n" if peer else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: admin\r\naccept: {accept}\r\n{on_whose_behalf}"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    async with asyncio.timeout(_WITHIN_S):
        reader, writer = await asyncio.open_unix_connection(socket)
        try:
            writer.write(head.encode("latin-1") + content)
            while not answer.is_whole and (piece := await reader.read(_PIECE)):
                parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise ConnectionError(f"{socket} answered no HTTP") from error
        finally:
            writer.close()
    if not answer.is_whole:
        raise ConnectionResetError(f"{socket} ended in the middle of its answer")
    return Answered(parser.get_status_code(), b"".join(answer.pieces))


class _Answer:
    """What the parser tells of."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_whole = False

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        """Take note of the end."""
        self.is_whole = True
