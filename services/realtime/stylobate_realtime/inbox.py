"""The messages of a client that wait for those before them. They wait as bytes: decoded they would be ten times as large."""

from collections import deque

_BYTES = 32_768
_OVERHEAD = 64
"""Bytes that a waiting message costs beside its own."""


class Inbox:
    """First in, first out. The owner stops reading while it is full."""

    __slots__ = ("_payloads", "_size")

    def __init__(self) -> None:
        self._payloads: deque[bytes] = deque()
        self._size = 0

    def __bool__(self) -> bool:
        """Whether any wait."""
        return bool(self._payloads)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self._size > _BYTES

    def push(self, payload: bytes) -> None:
        """Add a message."""
        self._payloads.append(payload)
        self._size += len(payload) + _OVERHEAD

    def pop(self) -> bytes:
        """Take the next one."""
        payload = self._payloads.popleft()
        self._size -= len(payload) + _OVERHEAD
        return payload
