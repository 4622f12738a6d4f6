"""The size limit of request bodies: by their announced length at once, else as they arrive."""

from stylobate_gateway.asgi import Application, Message, Receive, Scope, Send, read_body
from stylobate_gateway.errors import PayloadTooLargeError
from stylobate_gateway.exchange import exchange_of

_SMALL = 16 * 1024


class BodyLimit:
    """Refuses a body over the limit with 413 before anything is charged or run."""

    def __init__(self, inner: Application, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        length = exchange_of(scope).content_length
        if length > self._limit:
            raise self._too_large()
        if 0 <= length <= _SMALL:
            await self._inner(scope, receive, send)  # the server holds the client to the length it announced
            return
        # Read here: what reads it further in takes any exception for a malformed body, and keeps what it has read of one that
        # never ends in a cycle of exceptions until the collector comes by.
        body = await read_body(receive, self._limit)
        if len(body) > self._limit:
            raise self._too_large()
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await self._inner(scope, replayed, send)

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"The body may have at most {self._limit} bytes.")
