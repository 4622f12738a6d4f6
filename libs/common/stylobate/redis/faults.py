"""Which errors mean that the server does not serve: the one place that knows."""

from datetime import timedelta

from stylobate.errors import RedisUnavailableError

RETRY_AFTER = timedelta(seconds=1)

NOT_SERVING = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "NOREPLICAS", "MISCONF")
"""First words of replies that are about the server's state, not about what was asked."""


UNTRUSTED = "its certificate is not trusted"
OTHER_PROTOCOL = "the other side does not speak the Redis protocol"
_REFUSED = (
    *("WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR invalid password", "ERR Client sent AUTH", "DB index"),
    *(UNTRUSTED, "_ALERT_", OTHER_PROTOCOL),
)
"""What is said where we are not let in: by the server, the older ones included, and by TLS (alerts, RFC 8446 section 6.2)."""


class ScriptUnknownError(Exception):
    """The server does not know the script (it was restarted); it is sent along, so no caller sees this."""


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
    if word in NOT_SERVING:
        return unavailable(text)
    if word == "NOSCRIPT":
        return ScriptUnknownError(text)
    from redis.exceptions import ResponseError  # noqa: PLC0415  see above

    return ResponseError(text)
