"""Sessions of browsers: the tokens are in cookies that scripts cannot read, and are renewed here when they have expired."""

import grpc
import grpc.aio
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.bounded_dict import BoundedDict
from stylobate.errors import StylobateError, TokenInvalidError, TokenRevokedError, UnauthenticatedError
from stylobate.identity import Principal
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.verifier import TokenVerifier

from stylobate_gateway.errors import CsrfRefusedError
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.session_cookies import HeldCookies, SessionCookies

CSRF = b"x-csrf-token"
_PURPOSE = b"csrf"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KNOWN = 10_000


class BrowserSessions:
    """Reads, renews and clears them, and proves that a change comes from a page of ours.

    The CSRF token is a session's id, signed with this service's key: every gateway can check it, it stays the same as long as the
    session lives, and nobody who can set a cookie can make one.

    :param channel: to auth.
    """

    def __init__(
        self, channel: grpc.aio.Channel, verifier: TokenVerifier, identity: ServiceIdentity, cookies: SessionCookies
    ) -> None:
        self._auth = AuthServiceStub(channel)
        self._verifier = verifier
        self._identity = identity
        self._cookies = cookies
        self.cookie = cookies.access
        """The name of the one that says who asks."""
        self._proven: BoundedDict[tuple[bytes, bytes], bool] = BoundedDict(_KNOWN)

    def held(self, exchange: Exchange) -> HeldCookies | None:
        """Return the cookies of a request that counts by them: a token or an API key in its header goes first.

        :raises TokenInvalidError: there are two of one name.
        """
        if b"authorization" in exchange.headers or b"x-api-key" in exchange.headers:
            return None
        return self._cookies.held(exchange)

    def cached(self, exchange: Exchange, held: HeldCookies) -> Principal | None:
        """Return whose session it is where that is known; None: it must be looked at. Raises TokenRevokedError."""
        exchange.is_by_cookie = True
        try:
            return self._verifier.cached(held.access) if held.access else None
        except TokenRevokedError:
            self.clear(exchange)
            raise

    async def identify(self, exchange: Exchange, held: HeldCookies) -> tuple[str, Principal]:
        """Return the access token and whose it is; one that has expired is renewed, and the answer says the new cookies.

        :raises UnauthenticatedError: neither of the two holds; the answer takes the cookies away.
        :raises StylobateError: auth cannot be asked, or refuses to renew for now; the cookies stay.
        """
        try:
            if held.access:
                try:
                    return held.access, await self._of_person(held.access)
                except TokenRevokedError:
                    raise
                except UnauthenticatedError:
                    if not held.refresh:
                        raise
            response = await self._auth.RefreshSession(auth.RefreshSessionRequest(refresh_token=held.refresh))
            token = response.tokens.access_token
            principal = await self._of_person(token)
        except StylobateError as error:
            if error.code is grpc.StatusCode.UNAUTHENTICATED:
                self.clear(exchange)
            raise
        self._set(exchange, response.tokens, principal)
        return token, principal

    def check(self, exchange: Exchange, principal: Principal) -> None:
        """Refuse a change that does not prove to come from a page of ours. Raises CsrfRefusedError."""
        if exchange.method in _SAFE:
            return
        content, token = _content(principal), exchange.headers.get(CSRF, b"")
        if (content, token) not in self._proven:
            if not self._identity.has_sealed(_PURPOSE, content, token.decode("latin-1")):
                raise CsrfRefusedError
            self._proven.put((content, token), True)

    async def grant(self, exchange: Exchange, tokens: auth.Tokens) -> str:
        """Let the answer to a login set the cookies; return the CSRF token. Raises StylobateError."""
        return self._set(exchange, tokens, await self._of_person(tokens.access_token))

    def clear(self, exchange: Exchange) -> None:
        """Let the answer take the cookies away."""
        exchange.set_cookies = self._cookies.clearing()
        exchange.csrf_token = ""

    def logged_out(self, exchange: Exchange) -> None:
        """Let the answer to a logout take the cookies away, where they said who asks."""
        if exchange.is_by_cookie:
            self.clear(exchange)

    def tell(self, exchange: Exchange) -> None:
        """Let the answer say the CSRF token, for a page of another origin, which cannot read the cookie."""
        if exchange.is_by_cookie:
            exchange.csrf_token = self._csrf_token(exchange.call.principal)

    def _set(self, exchange: Exchange, tokens: auth.Tokens, principal: Principal) -> str:
        csrf = exchange.csrf_token = self._csrf_token(principal)
        seconds = tokens.session_expires_in.seconds if tokens.HasField("session_expires_in") else None
        exchange.set_cookies = self._cookies.setting(tokens.access_token, tokens.refresh_token, csrf, seconds)
        return csrf

    def _csrf_token(self, principal: Principal) -> str:
        return self._identity.seal(_PURPOSE, _content(principal))

    async def _of_person(self, token: str) -> Principal:
        principal = await self._verifier.verify(token)
        if principal.is_key:  # cookies are for sessions
            raise TokenInvalidError
        return principal


def _content(principal: Principal) -> bytes:
    return f"{principal.tenant}\0{principal.session}".encode()
