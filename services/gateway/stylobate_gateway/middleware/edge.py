"""The edge: who is calling, and whether they call too often. Before it nothing costs more than a look into memory."""

import ipaddress

from stylobate.identity import TokenVerifier
from stylobate.rpc.call import call
from stylobate.rpc.limits import LevelSpec, LimitOutcome, LimitsClient

from stylobate_gateway.asgi import Application, Receive, Scope, Send
from stylobate_gateway.errors import IdempotencyKeyUnsupportedError
from stylobate_gateway.exchange import Exchange, exchange_of

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PUBLIC_PATHS = frozenset(
    {"/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh", "/.well-known/jwks.json", "/", "/openapi.json", "/docs"}
)
"""Where credentials are not looked at: a stale token must not keep anyone from logging in."""
_PUBLIC_PREFIXES = ("/docs/", "/problems/", "/static-offline-docs/")
_IP = (LevelSpec.of_rule("edge.ip"),)
_USER = (LevelSpec.of_rule("edge.user"),)
_BOTH = (*_IP, *_USER)


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
        trusted_proxies: tuple[_Network, ...],
    ) -> None:
        self._inner = inner
        self._verifier = verifier
        self._limits = limits
        self._trusted = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = exchange_of(scope)
        address = self._address(scope, exchange)
        path = exchange.path
        token = "" if path in PUBLIC_PATHS or path.startswith(_PUBLIC_PREFIXES) else exchange.bearer
        principal = self._verifier.cached(token) if token else None
        if principal is not None:
            await self._charge(exchange, _BOTH, (address, principal.id))
        else:
            await self._charge(exchange, _IP, (address,))
            if token:
                principal = await self._verifier.verify(token)
                await self._charge(exchange, _USER, (principal.id,))
        if principal is not None:
            exchange.principal = principal
            current = call()
            current.principal = principal
            current.authorization = f"Bearer {token}"
        if exchange.idempotency_key:
            raise IdempotencyKeyUnsupportedError
        await self._inner(scope, receive, send)

    async def _charge(self, exchange: Exchange, levels: tuple[LevelSpec, ...], subjects: tuple[str, ...]) -> None:
        if self._limits is None:
            return
        outcome = await self._limits.check(levels, subjects)
        note_limit(exchange, outcome)
        if not outcome.allowed:
            raise outcome.error()

    def _address(self, scope: Scope, exchange: Exchange) -> str:
        """Return the client's address: the nearest one in ``X-Forwarded-For`` that no trusted proxy has."""
        client = scope.get("client")
        peer: str = client[0] if client else "unknown"
        if ":" not in peer and not self._trusted:
            return peer
        nearest = _parsed(peer)
        if nearest is None:
            return peer
        hops = exchange.forwarded_for.split(",") if self._trusted else []
        while hops and any(nearest in network for network in self._trusted):
            hop = _parsed(hops.pop().strip())
            if hop is not None:  # what is no address was made up by somebody further away
                nearest = hop
        return _counted(nearest)


def _parsed(text: str) -> _Address | None:
    """Return the address; an IPv4 one that came in IPv6's clothes as what it is."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _counted(address: _Address) -> str:
    """Return whom a limit counts: of IPv6 the network, since one customer has at least 2^64 addresses."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


def note_limit(exchange: Exchange, outcome: LimitOutcome) -> None:
    """Let the answer carry how the limit stands; a degraded limiter promises nothing."""
    exchange.rate_limit = [] if outcome.degraded else outcome.headers()
