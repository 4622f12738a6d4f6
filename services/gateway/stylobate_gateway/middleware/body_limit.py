"""The size limit of request bodies: by their announced length at once, else as they arrive."""

from stylobate.http.asgi import Application, Message, Receive, Scope, Send, read_body
from stylobate.http.errors import PayloadTooLargeError

from stylobate_gateway.exchange import Exchange, exchange_of

_SMALL = 16 * 1024
_ACCOUNTS = "/v1/auth/"
"""Open to everyone, and what is sent there is a few short texts: ``_SMALL`` is the limit."""


class BodyLimit:
    """Refuses a request whose body is announced to be over the limit with 413, before anything is charged or run."""

    def __init__(self, inner: Application, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        if exchange.content_length > _SMALL or exchange.content_length > self._limit:
            refuse_over(limit_of(exchange, self._limit), exchange.content_length)
        await self._inner(scope, receive, send)


class WholeBody:
    """Reads large bodies and those of unknown length, once the request is charged and before anything else looks at them.

    What reads them further in takes any exception for a malformed body, and keeps what it has read of one that never ends in a
    cycle of exceptions until the collector comes by.
    """

    def __init__(self, inner: Application, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        if 0 <= exchange.content_length <= _SMALL:
            await self._inner(scope, receive, send)  # the server holds the client to the length it announced
            return
        limit = limit_of(exchange, self._limit)
        body = await read_body(receive, limit)
        refuse_over(limit, len(body))
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        del body  # whoever takes it keeps it as long as it is needed

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await self._inner(scope, replayed, send)


def limit_of(exchange: Exchange, limit: int) -> int:
    """Return how many bytes the body of this request may have where any other may have ``limit``."""
    return min(limit, _SMALL) if exchange.path.startswith(_ACCOUNTS) else limit


def refuse_over(limit: int, size: int) -> None:
    """Raise PayloadTooLargeError for more than the limit."""
    if size > limit:
        raise PayloadTooLargeError(f"The body may have at most {limit} bytes.")
