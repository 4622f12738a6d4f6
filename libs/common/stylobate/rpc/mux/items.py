"""What stands in the messages of a stream: several calls, or several replies, as MessagePack arrays.

A message of a client is ``[calls, cancelled]``: calls, and the ids of calls that nobody waits for any more. A message of a server
is ``[reply, …]``. Fields may be left out from the end, and ones that are added at the end are passed over by who does not know
them.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec

from stylobate.rpc.method import MAX_MESSAGE_BYTES, Metadata

EXCHANGE = "/stylobate.mux.v1/Exchange"
"""The method that a stream calls."""
FIND = "/stylobate.mux.v1/Find"
"""The method of the plain port that tells where the listener for streams is."""
MAX_REQUEST_BYTES = 64 * 1024
"""Of a request with its metadata; a larger one goes by plain gRPC."""
PART_BYTES = 64 * 1024
"""Of a response that goes at once; a larger one goes in parts, between which others pass."""
MESSAGE_BYTES = 128 * 1024
"""Of a message with more than one item."""
MOST_TO_SERVER = 256 * 1024
MOST_TO_CLIENT = MAX_MESSAGE_BYTES


class CallItem(msgspec.Struct, array_like=True, gc=False):
    """A call."""

    id: int
    """Unique among those of a stream that are under way."""
    method: str
    metadata: tuple[str, ...]
    """Key, value, key, value, …"""
    timeout_us: Annotated[int, msgspec.Meta(ge=0)]
    """Microseconds; 0: no deadline."""
    request: bytes
    binary: tuple[tuple[str, bytes], ...] = ()
    """Metadata with binary values."""

    def pairs(self) -> Metadata:
        """Return the metadata as gRPC has it."""
        return (*zip(self.metadata[::2], self.metadata[1::2], strict=True), *self.binary)


class FromClient(msgspec.Struct, array_like=True, gc=False):
    """What a client sends."""

    calls: tuple[CallItem, ...] = ()
    cancelled: tuple[int, ...] = ()


class Reply(msgspec.Struct, array_like=True, gc=False):
    """How a call ended, or a part of its response."""

    id: int
    response: bytes
    code: int = 0
    details: str = ""
    initial: tuple[tuple[str, Any], ...] = ()
    trailing: tuple[tuple[str, Any], ...] = ()
    """Metadata; values are text or bytes."""
    is_part: bool = False
    """Whether more of the response follows."""


class Listener(msgspec.Struct, array_like=True):
    """Where a server takes streams."""

    port: int = 0
    """At the same address; 0: at none."""
    path: str = ""
    """Of a unix socket; empty: at none."""
    calls: int = 0
    """That a stream may have under way."""


class TooLargeError(Exception):
    """A call that does not go by a stream: its request with its metadata is too large."""


def packed(items: Sequence[msgspec.Raw]) -> Iterator[Sequence[msgspec.Raw]]:
    """Yield what is to stand in a message each: all, or where it would be too long, as many as there is room for."""
    start = size = 0
    for at, item in enumerate(items):
        size += len(item)
        if size > MESSAGE_BYTES and at > start:
            yield items[start:at]
            start, size = at, len(item)
    yield items[start:] if start else items
