"""Admission: whether a request may come in at all. Until it may, nothing costs more than a look into memory."""

from collections.abc import Callable

from stylobate.app.request_turns import ADMITTED
from stylobate.errors import UnauthenticatedError
from stylobate.http.asgi import Application, Message, Receive, Scope, Send, read_body
from stylobate.http.errors import HostRefusedError, PayloadTooLargeError
from stylobate.http.own_host import is_local_host
from stylobate.identity import ANONYMOUS, ClientAddresses, Principal
from stylobate.identity.api_key_proofs import refuse_elsewhere
from stylobate.identity.verifier import TokenVerifier

from stylobate_gateway.browser_sessions import BrowserSessions
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.charges import Charges
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.session_cookies import HeldCookies

PUBLIC_PATHS = frozenset(
    {
        "/v1/auth/register",
        "/v1/auth/login",
        "/v1/auth/refresh",
        "/.well-known/jwks.json",
        "/",
        "/openapi.json",
        "/docs",
        "/oauth2/token",
        "/oauth2/introspect",
        "/oauth2/revoke",
    }
)
"""Where credentials are not looked at: a stale token must not keep anyone from logging in."""
_CATALOGUE = frozenset({"/openapi.json", "/docs"})
_PUBLIC_PREFIXES = ("/docs/", "/problems/", "/static-offline-docs/")
SMALL = 16 * 1024
"""Bytes of a body that is read as it comes."""
Peer = tuple[str, int]
"""The address and port that a connection comes from."""
_ACCOUNTS = ("/v1/auth/", "/oauth2/")
"""Open to everyone, and what is sent there is a few short texts: :data:`SMALL` is the limit."""


class Admission:
    """Looks at the name that was asked and the size that is announced, charges address and user, verifies the token or API key.

    With a token that is verified in memory all is charged in one call. With one that is not known the address is charged first,
    so that guessing never reaches a signature check or a password hash. A long body is read once the request is charged.

    :param hosts: in development: own names beside those of this machine. There much is open, so a page of a stranger whose name
        leads here (DNS rebinding) must find nothing. None: whatever name was asked.
    :param is_open: whether what there is to call is shown to everyone.
    :param browsers: sessions in cookies; None: cookies say nothing.
    """

    def __init__(
        self,
        inner: Application,
        *,
        verifier: TokenVerifier,
        charges: Charges,
        catalogue: Catalogue,
        addresses: ClientAddresses,
        max_body: int,
        hosts: tuple[str, ...] | None = None,
        is_open: bool = True,
        browsers: BrowserSessions | None = None,
    ) -> None:
        self._inner = inner
        self._verifier = verifier
        self._charges = charges
        self._catalogue = catalogue
        self._addresses = addresses
        self._max_body = max_body
        self._short = min(max_body, SMALL)
        self._hosts = hosts
        self._browsers = browsers
        self._public = PUBLIC_PATHS if is_open else PUBLIC_PATHS - _CATALOGUE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange: Exchange = scope["stylobate"]
        await self.admit(exchange, scope["client"], scope.get(ADMITTED))
        is_short = 0 <= exchange.head.body_size <= self._short
        await self._inner(scope, receive if is_short else await _whole(receive, self._limit(exchange)), send)

    async def admit(self, exchange: Exchange, peer: Peer | None, admitted: Callable[[], None] | None) -> None:
        """Return when a request may come in: its name and size are fine, it is charged, and whose it is stands in its call.

        :param admitted: is told.
        """
        if not exchange.head.is_let_in:
            self._let_in(exchange)
        self._locate(exchange, peer)
        exchange.found = self._catalogue.find(exchange.method, exchange.path, exchange.instance)
        try:
            principal, held = self._recognised(exchange)
        except UnauthenticatedError:  # malformed or revoked: a request like any other
            await self._charges.address(exchange)
            raise
        token = ""
        if principal is None:
            principal, token = await self._found_out(exchange, held)
        elif (charging := self._charges.begin(exchange, principal)) is not None:
            self._charges.end(exchange, await charging)
        if principal is not ANONYMOUS:
            call = exchange.call
            if held is not None and self._browsers is not None:
                self._browsers.check(exchange, principal)
            if principal.networks:
                refuse_elsewhere(principal, call.client_address)
            call.principal = principal
            call.authorization = exchange.head.authorization if held is None else f"Bearer {token or held.access}"
        if admitted is not None:
            admitted()

    def _let_in(self, exchange: Exchange) -> None:
        """Look at the name that was asked and the size that is announced. Raises HostRefusedError, PayloadTooLargeError."""
        if self._hosts is not None and not is_local_host(exchange.headers.get(b"host", b"").decode("latin-1"), self._hosts):
            raise HostRefusedError
        if (size := exchange.head.body_size) > self._short:  # the server holds the client to the length it announced
            _refuse_over(self._limit(exchange), size)
        exchange.head.is_let_in = True

    async def charge_address(self, exchange: Exchange, scope: Scope) -> None:
        """Note where the client is and charge the address alone. Raises RateLimitedError."""
        self._locate(exchange, scope["client"])
        await self._charges.address(exchange)

    def _limit(self, exchange: Exchange) -> int:
        return self._short if exchange.path.startswith(_ACCOUNTS) else self._max_body

    def _locate(self, exchange: Exchange, peer: Peer | None) -> None:
        call, head = exchange.call, exchange.head
        call.client_address = self._addresses.of(peer[0] if peer else None, head.forwarded)
        call.client_agent = head.client_agent

    def _recognised(self, exchange: Exchange) -> tuple[Principal | None, HeldCookies | None]:
        """Return who asks, as far as it is in memory, and the cookies that say so. Raises UnauthenticatedError.

        None: it must be found out.
        """
        path, browsers = exchange.path, self._browsers
        if path in self._public or path.startswith(_PUBLIC_PREFIXES):
            return ANONYMOUS, None
        if browsers is not None and (held := browsers.held(exchange)) is not None:
            return browsers.cached(exchange, held), held
        token = exchange.head.bearer
        return self._verifier.cached(token) if token else ANONYMOUS, None

    async def _found_out(self, exchange: Exchange, held: HeldCookies | None) -> tuple[Principal, str]:
        """Charge the address, find out who asks, then charge the rest; return who it is, and the token that says so."""
        await self._charges.address(exchange)
        if self._browsers is not None and held is not None:
            token, principal = await self._browsers.identify(exchange, held)
        else:
            token = exchange.head.bearer
            principal = await self._verifier.verify(token)
        await self._charges.rest(exchange, principal)
        return principal, token


async def _whole(receive: Receive, limit: int) -> Receive:
    """Read a body that is long, or says its length at its end, before anything else looks at it; return what gives it.

    What reads it further in takes any exception for a malformed body, and keeps what it has read of one that never ends in a
    cycle of exceptions until the collector comes by.
    """
    body = await read_body(receive, limit)
    _refuse_over(limit, len(body))
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return whole.pop() if whole else await receive()  # whoever takes it keeps it as long as it is needed

    return replayed


def _refuse_over(limit: int, size: int) -> None:
    if size > limit:
        raise PayloadTooLargeError(f"The body may have at most {limit} bytes.")
