"""Errors as problems: what is refused further in is answered here, inside the CORS layer, so that pages can read it too."""

from starlette.requests import ClientDisconnect
from stylobate.errors import CancelledCallError, InternalError, StylobateError
from stylobate.http.asgi import Application, Receive, Scope, Send
from stylobate.logs import get_logger

from stylobate_gateway.exchange import Exchange, exchange_of

_log = get_logger("app")


class Refusals:
    """Lets no exception pass, except when an answer has begun: then the connection must break, or half of it looks whole."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._inner(scope, receive, send)
        except Exception as error:
            exchange = exchange_of(scope)
            refused = exchange.error = _refusal_of(error, exchange)
            if exchange.status:
                raise
            _let_go(error)
            await exchange.refuse(send, refused)


def _let_go(error: BaseException) -> None:
    """Drop the frames of the error and of what led to it.

    They hold the exchange, which holds the error: all that they have read of a body would wait for the collector.
    """
    found: BaseException | None = error
    while found is not None and found.__traceback__ is not None:
        found.__traceback__ = None
        found = found.__context__


def _refusal_of(error: Exception, exchange: Exchange) -> StylobateError:
    """Return what is answered to an error. One that nobody foresaw is logged, and its text stays here."""
    if isinstance(error, StylobateError):
        return error
    if isinstance(error, ClientDisconnect):
        return CancelledCallError("The client went away before its request was complete.")
    _log.error("request_failed", request_id=exchange.request_id, path=exchange.path, exc_info=error)
    return InternalError()
