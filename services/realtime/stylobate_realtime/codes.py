"""The numbers that clients act on: errors in replies, and close codes of a connection."""

from dataclasses import dataclass

from stylobate_realtime.protocol.messages import Error, Unsubscribe

INTERNAL = Error(code=100, message="internal server error", temporary=True)
UNAUTHORIZED = Error(code=101, message="unauthorized")
UNKNOWN_CHANNEL = Error(code=102, message="unknown channel")
PERMISSION_DENIED = Error(code=103, message="permission denied")
ALREADY_SUBSCRIBED = Error(code=105, message="already subscribed")
LIMIT_EXCEEDED = Error(code=106, message="limit exceeded")
BAD_REQUEST = Error(code=107, message="bad request")
NOT_AVAILABLE = Error(code=108, message="not available")
TOKEN_EXPIRED = Error(code=109, message="token expired")
TOO_MANY_REQUESTS = Error(code=111, message="too many requests", temporary=True)


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Why a connection ends. 3500-3999 and 4500-4999 are final for a client; after any other it connects again."""

    code: int
    reason: str
    """At most 32 bytes, and never valid JSON: one SDK would read it as an object."""


SHUTDOWN = Disconnect(3001, "shutdown")
INTERNAL_SERVER_ERROR = Disconnect(3004, "internal server error")
CONNECTION_EXPIRED = Disconnect(3005, "connection expired")
SLOW = Disconnect(3008, "slow")
NO_PONG = Disconnect(3012, "no pong")
TOO_MANY_ERRORS = Disconnect(3013, "too many requests")
OVERLOADED = Disconnect(3014, "overloaded")
TOO_MANY_PINGS = Disconnect(1008, "too many pings")
INVALID_TOKEN = Disconnect(3500, "invalid token")
MALFORMED = Disconnect(3501, "bad request")
STALE = Disconnect(3502, "stale")
BANNED = Disconnect(3503, "banned")
CONNECTION_LIMIT = Disconnect(3504, "connection limit")
NO_TOKEN = Disconnect(3507, "permission denied")
SEND_NOT_AVAILABLE = Disconnect(3508, "not available")


ACCESS_CHANGED = Unsubscribe(code=2502, reason="access changed")
"""Ends a subscription whose right is gone. The client subscribes again at once, from nothing, and is answered anew."""


class CommandRefusedError(Exception):
    """A command is answered with an error; the connection lives on."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


class SessionEndedError(Exception):
    """A command ends the connection; it is not answered."""

    def __init__(self, disconnect: Disconnect) -> None:
        super().__init__(disconnect.reason)
        self.disconnect = disconnect
