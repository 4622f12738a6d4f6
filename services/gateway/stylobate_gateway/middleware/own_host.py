"""Development only: the name that was asked is one of this machine's.

In development much is open, so a page of a stranger whose name leads here (DNS rebinding) must find nothing.
"""

from stylobate.http.asgi import Application, Receive, Scope, Send
from stylobate.http.errors import HostRefusedError
from stylobate.http.own_host import is_local_host

from stylobate_gateway.exchange import exchange_of


class OwnHost:
    """Refuses requests to other hosts with 403."""

    def __init__(self, inner: Application, hosts: tuple[str, ...]) -> None:
        self._inner = inner
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not is_local_host(exchange_of(scope).host, self._hosts):
            raise HostRefusedError
        await self._inner(scope, receive, send)
