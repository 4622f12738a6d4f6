"""What one HTTP listener grants to whoever connects: times, numbers and bytes."""

from dataclasses import dataclass

MAX_HEAD_BYTES = 64 * 1024
"""Of the head of a request, in reads of its own."""
MAX_TARGET_BYTES = 16 * 1024
"""Of the path and query of a request; RFC 9110 section 4.1 recommends to take 8000."""
MAX_FIELDS = 128
"""Header fields of a request."""
MAX_TRAILER_BYTES = 8 * 1024
"""Of the fields behind a chunked body, and of what chunks carry beside their data."""
MAX_PIPELINED = 16
"""Requests that wait on one connection for the answers before them."""
SLOWEST = 512
"""Bytes a second that a body, or an answer, must make on average over its deadline."""


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """The bounds of one listener. Durations in seconds, sizes in bytes."""

    connections: int = 8192
    """Open at a time."""
    connections_per_address: int = 1024
    """Of them from one address (of IPv6: one /64)."""
    strangers: int = 512
    """Of them on which no request was admitted yet, of those that some address has many of. See :class:`Strangers`."""
    head_s: float = 10.0
    """From the connection, or the first byte of a further request, to the end of the head."""
    body_s: float = 30.0
    """In which a body must end or grow by ``SLOWEST`` times as many bytes."""
    write_s: float = 30.0
    """In which the client must take an answer, or ``SLOWEST`` times as many bytes of it."""
    keep_alive_s: float = 75.0
    """Between two requests."""
    held_bytes: int = 8 * 1024 * 1024
    """Of requests that are not answered yet, on all connections together."""
    unsent_bytes: int = 16 * 1024 * 1024
    """Of answers that clients have not taken yet, on all connections together."""
    beginning: int = 192
    """Requests in the application that it has not admitted yet, two thirds of them on connections on which none was; others wait,
    one of each address in turn."""
    requests: int | None = None
    """Worked on at a time; None: as many as keep the event loop in time. See :class:`RequestTurns`."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) of proxies: they bring many clients, so the bound per address is not for them."""
