"""Preflights are answered in front of the edge, so they are charged here, on the address as any other request."""

from stylobate.http.asgi import Application, Receive, Scope, Send

from stylobate_gateway.exchange import exchange_of
from stylobate_gateway.middleware.edge import Edge
from stylobate_gateway.middleware.refusals import Refusals


class ChargedPreflights:
    """Stands in front of the layer that answers them (the Fetch standard's CORS protocol)."""

    def __init__(self, inner: Application, edge: Edge) -> None:
        self._inner = inner
        self._edge = edge
        self._charged = Refusals(self._charge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        is_preflight = exchange.has_origin and exchange.method == "OPTIONS"
        await (self._charged if is_preflight else self._inner)(scope, receive, send)

    async def _charge(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._edge.charge_address(scope)
        await self._inner(scope, receive, send)
