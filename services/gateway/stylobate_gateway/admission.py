"""Admission: whether a request may come in at all. Until it may, nothing costs more than a look into memory."""

from stylobate.app.turns import ADMITTED
from stylobate.clients.limits import LimitsClient
from stylobate.errors import UnauthenticatedError
from stylobate.http.asgi import Application, Message, Receive, Scope, Send, read_body
from stylobate.http.errors import HostRefusedError, PayloadTooLargeError
from stylobate.http.own_host import is_local_host
from stylobate.identity import ClientAddresses, TokenVerifier, client_agent

from stylobate_gateway.errors import IdempotencyKeyUnsupportedError
from stylobate_gateway.exchange import Exchange

PUBLIC_PATHS = frozenset(
    {"/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh", "/.well-known/jwks.json", "/", "/openapi.json", "/docs"}
)
"""Where credentials are not looked at: a stale token must not keep anyone from logging in."""
_CATALOGUE = frozenset({"/openapi.json", "/docs"})
_PUBLIC_PREFIXES = ("/docs/", "/problems/", "/static-offline-docs/")
_SMALL = 16 * 1024
_ACCOUNTS = "/v1/auth/"
"""Open to everyone, and what is sent there is a few short texts: ``_SMALL`` is the limit."""


class Admission:
    """Looks at the name that was asked and the size that is announced, charges address and user, verifies the bearer token.

    With a token that is verified in memory address and user are charged in one call. Without one the address is charged first,
    so that guessing never reaches a signature check or a password hash. A long body is read once the request is charged.

    :param limits: None: nobody is charged.
    :param hosts: in development: own names beside those of this machine. There much is open, so a page of a stranger whose name
        leads here (DNS rebinding) must find nothing. None: whatever name was asked.
    :param is_open: whether what there is to call is shown to everyone.
    """

    def __init__(
        self,
        inner: Application,
        *,
        verifier: TokenVerifier,
        limits: LimitsClient | None,
        addresses: ClientAddresses,
        max_body: int,
        hosts: tuple[str, ...] | None = None,
        is_open: bool = True,
    ) -> None:
        self._inner = inner
        self._verifier = verifier
        self._limits = limits
        self._addresses = addresses
        self._max_body = max_body
        self._short = min(max_body, _SMALL)
        self._hosts = hosts
        self._public = PUBLIC_PATHS if is_open else PUBLIC_PATHS - _CATALOGUE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange: Exchange = scope["stylobate"]
        if self._hosts is not None and not is_local_host(exchange.headers.get(b"host", b"").decode("latin-1"), self._hosts):
            raise HostRefusedError
        size, limit = exchange.body_size, self._short
        is_short = 0 <= size <= limit  # the server holds the client to the length it announced
        if not is_short:
            limit = limit if exchange.path.startswith(_ACCOUNTS) else self._max_body
            _refuse_over(limit, size)
        await self._admit(exchange, scope)
        if b"idempotency-key" in exchange.headers:
            raise IdempotencyKeyUnsupportedError
        await self._inner(scope, receive if is_short else await _whole(receive, limit), send)

    async def charge_address(self, exchange: Exchange, scope: Scope) -> None:
        """Note where the client is and charge the address alone. Raises RateLimitedError."""
        self._locate(exchange, scope)
        await self._charge(exchange, exchange.call.client_address)

    def _locate(self, exchange: Exchange, scope: Scope) -> None:
        client, forwarded = scope["client"], exchange.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        exchange.call.client_address = self._addresses.of(client[0] if client else None, (forwarded,) if forwarded else ())
        exchange.call.client_agent = client_agent(exchange.headers.get(b"user-agent", b"").decode("latin-1"))

    async def _charge(self, exchange: Exchange, address: str, user: str = "") -> None:
        if self._limits is not None:
            exchange.limits = await self._limits.charge(address, user)

    async def _admit(self, exchange: Exchange, scope: Scope) -> None:
        """Charge the request, and note whose it is."""
        self._locate(exchange, scope)
        call, path = exchange.call, exchange.path
        try:
            token = "" if path in self._public or path.startswith(_PUBLIC_PREFIXES) else exchange.bearer
            principal = self._verifier.cached(token) if token else None
        except UnauthenticatedError:  # malformed or revoked: a request like any other
            await self._charge(exchange, call.client_address)
            raise
        await self._charge(exchange, call.client_address, principal.id if principal is not None else "")
        if token and principal is None:
            principal = await self._verifier.verify(token)
            await self._charge(exchange, "", principal.id)
        if principal is not None:
            call.principal, call.authorization = principal, f"Bearer {token}"
        if (admitted := scope.get(ADMITTED)) is not None:
            admitted()


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
