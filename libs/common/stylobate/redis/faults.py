"""Which errors mean that the server does not serve: the one place that knows."""

from datetime import timedelta

from stylobate.errors import RedisUnavailableError

RETRY_AFTER = timedelta(seconds=1)

NOT_SERVING = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "OOM", "NOREPLICAS", "MISCONF")
"""First words of replies that are about the server's state, not about what was asked."""
_REDIRECTIONS = ("MOVED", "ASK", "TRYAGAIN")


UNTRUSTED = "its certificate is not trusted"
OTHER_PROTOCOL = "the other side does not speak the Redis protocol"
OTHER_KIND = "its URL begins with"
UNKNOWN_MASTER = "knows no master of that name"
ELSEWHERE = "non local key"
"""What a script is told whose key is being moved to another node while it runs."""
_REFUSED = (
    *("WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH", "DB index"),
    *(UNTRUSTED, "_ALERT_", OTHER_PROTOCOL, OTHER_KIND, UNKNOWN_MASTER),
)
"""What is said where we are not let in: by the server, the older ones included, and by TLS (alerts, RFC 8446 section 6.2)."""


class ScriptUnknownError(Exception):
    """The server does not know the script (it was restarted); it is sent along, so no caller sees this."""


class RedirectedError(Exception):
    """A node of a Cluster did not do it: another one has the slot (MOVED), or gets it just now (ASK, TRYAGAIN).

    The pipeline of a Cluster goes there, so no caller sees this.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        words = text.split(" ")
        self.kind = words[0]
        self.slot, self.host, self.port = -1, "", 0
        if self.kind != "TRYAGAIN":
            host, _, port = words[2].rpartition(":")
            self.slot, self.host, self.port = int(words[1]), host, int(port)


def is_refusal(cause: str) -> bool:
    """Return whether the server answers and does not let us in, which no waiting cures."""
    return any(word in cause for word in _REFUSED)


def unavailable(cause: str) -> RedisUnavailableError:
    """Return the platform's error; the cause is for logs."""
    return RedisUnavailableError(metadata={"cause": cause}, retry_after=RETRY_AFTER)


def refusal(text: str) -> Exception:
    """Return the error for a reply that refuses a command, by its first word.

    redis-py, whose ResponseError is what callers are promised, is loaded when there is one: it takes a fifth of all the time
    that importing the platform does.
    """
    word = text.partition(" ")[0]
    if word in NOT_SERVING or ELSEWHERE in text:
        return unavailable(text)
    if word in _REDIRECTIONS:
        return RedirectedError(text)
    if word == "NOSCRIPT":
        return ScriptUnknownError(text)
    from redis.exceptions import ResponseError  # noqa: PLC0415  see above

    return ResponseError(text)
