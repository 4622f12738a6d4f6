"""The edge: who is calling, and whether they call too often. Before it nothing costs more than a look into memory."""

from stylobate.app.turns import ADMITTED
from stylobate.clients.limits import EDGE_BOTH, EDGE_IP, EDGE_USER, LevelSpec, LimitsClient
from stylobate.errors import UnauthenticatedError
from stylobate.http.asgi import Application, Receive, Scope, Send
from stylobate.identity import ClientAddresses, TokenVerifier, client_agent, limit_key
from stylobate.rpc.call import Call, call

from stylobate_gateway.errors import IdempotencyKeyUnsupportedError
from stylobate_gateway.exchange import Exchange, exchange_of

PUBLIC_PATHS = frozenset(
    {"/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh", "/.well-known/jwks.json", "/", "/openapi.json", "/docs"}
)
"""Where credentials are not looked at: a stale token must not keep anyone from logging in."""
_CATALOGUE = frozenset({"/openapi.json", "/docs"})
_PUBLIC_PREFIXES = ("/docs/", "/problems/", "/static-offline-docs/")


def public_paths(*, is_open: bool) -> frozenset[str]:
    """Return them; what there is to call is among them where it is shown to everyone."""
    return PUBLIC_PATHS if is_open else PUBLIC_PATHS - _CATALOGUE


class Edge:
    """Charges ip and user, verifies the bearer token.

    With a token that is verified in memory both levels go in one call. Without one the address is charged first, so that
    guessing never reaches a signature check or a password hash.
    """

    def __init__(
        self,
        inner: Application,
        verifier: TokenVerifier,
        limits: LimitsClient | None,
        addresses: ClientAddresses,
        public: frozenset[str] = PUBLIC_PATHS,
    ) -> None:
        self._inner = inner
        self._verifier = verifier
        self._limits = limits
        self._addresses = addresses
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        current = call()
        address = self._identify(scope, exchange, current)
        path = exchange.path
        try:
            token = "" if path in self._public or path.startswith(_PUBLIC_PREFIXES) else exchange.bearer
            principal = self._verifier.cached(token) if token else None
        except UnauthenticatedError:  # malformed or revoked: a request like any other
            await self._charge(exchange, EDGE_IP, (address,))
            raise
        if principal is not None:
            await self._charge(exchange, EDGE_BOTH, (address, principal.id))
        else:
            await self._charge(exchange, EDGE_IP, (address,))
            if token:
                principal = await self._verifier.verify(token)
                await self._charge(exchange, EDGE_USER, (principal.id,))
        if principal is not None:
            exchange.principal = principal
            current.principal = principal
            current.authorization = f"Bearer {token}"
        if (admitted := scope.get(ADMITTED)) is not None:
            admitted()
        if exchange.idempotency_key:
            raise IdempotencyKeyUnsupportedError
        await self._inner(scope, receive, send)

    async def charge_address(self, scope: Scope) -> None:
        """Charge the address alone, for what is answered before the edge. Raises RateLimitedError."""
        exchange = exchange_of(scope)
        await self._charge(exchange, EDGE_IP, (self._identify(scope, exchange, call()),))

    def _identify(self, scope: Scope, exchange: Exchange, current: Call) -> str:
        """Note where the client is; return whom limits count."""
        client = scope.get("client")
        current.client_address = self._addresses.of(client[0] if client else None, exchange.forwarded_for)
        current.client_agent = client_agent(exchange.agent)
        return limit_key(current.client_address)

    async def _charge(self, exchange: Exchange, levels: tuple[LevelSpec, ...], subjects: tuple[str, ...]) -> None:
        if self._limits is None:
            return
        outcome = await self._limits.check(levels, subjects)
        exchange.limits = outcome.texts()
        if not outcome.allowed:
            raise outcome.error()
