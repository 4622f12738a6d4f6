"""OAuth 2.0 for programs: tokens for clients (RFC 6749), and what is asked about tokens (RFC 7662, RFC 7009).

A client is a service account, and its secret one of that account's API keys, or what it signed by the private half of one:
scopes, end, networks, rotation and revocation of the key are those of the tokens that it gets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import jwt
from stylobate.audit import AuditRecord
from stylobate.errors import PermissionDeniedError, UnauthenticatedError
from stylobate.identity import DEFAULT_TENANT, Principal, PrincipalKind, grants
from stylobate.identity.api_key import is_api_key, read_api_key
from stylobate.identity.api_key_proofs import refuse_elsewhere
from stylobate.identity.verifier import TokenVerifier
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.api_key import ApiKey, Standing
from stylobate_auth.api_key_manager import ApiKeyManager
from stylobate_auth.client_assertion import ClientAssertions
from stylobate_auth.errors import (
    OAuthClientError,
    OAuthGrantError,
    OAuthGrantTypeError,
    OAuthRequestError,
    OAuthScopeError,
    RefreshInvalidError,
    RefreshReusedError,
    SessionNotFoundError,
)
from stylobate_auth.jwt_manager import FIRST_PARTY, JWTManager
from stylobate_auth.login_limits import LOGIN, LoginLimits
from stylobate_auth.model import CLOCKS_DIFFER, Account, Revocation, RevocationKind, place_of
from stylobate_auth.refresh_manager import RefreshManager
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.store.port import AuthStore

INTROSPECT = "tokens:introspect"
_MAX_TOKEN = 8192


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, as it says itself."""

    id: str
    secret: str = field(repr=False)
    assertion: str = field(default="", repr=False)
    """What it signed, in place of a secret."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A client that is believed."""

    account: Account
    key: ApiKey
    believed_until: datetime
    principal: Principal


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, in the only answer that ever holds it."""

    access_token: str = field(repr=False)
    lifetime: timedelta
    scope: str = ""
    refresh_token: str = field(default="", repr=False)


class OAuthManager:
    """Issues, explains and ends tokens.

    :param verifier: of this process. :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        keys: ApiKeyManager,
        tokens: JWTManager,
        access: AccessManager,
        *,
        sessions: SessionManager,
        refreshes: RefreshManager,
        revocations: RevocationManager,
        limits: LoginLimits,
        verifier: TokenVerifier,
        assertions: ClientAssertions,
        environment: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._keys = keys
        self._tokens = tokens
        self._access = access
        self._sessions = sessions
        self._refreshes = refreshes
        self._revocations = revocations
        self._limits = limits
        self._verifier = verifier
        self._assertions = assertions
        self._environment = environment
        self._clock = clock

    async def issue(self, grant_type: str, client: Client, scope: str, refresh_token: str, caller: Call) -> Issued:
        """Issue a token.

        :raises OAuthRequestError, OAuthClientError, OAuthGrantError, OAuthScopeError, OAuthGrantTypeError: it is not granted.
        :raises RateLimitedError: too many failures from this address. :raises BannedError: the client or session is banned.
        """
        if grant_type == "client_credentials":
            return await self._for_client(await self._know(client, caller), scope, caller)
        if grant_type == "refresh_token":
            return await self._for_session(client, scope, refresh_token, caller)
        if not grant_type:
            raise OAuthRequestError("grant_type is missing.")
        raise OAuthGrantTypeError

    async def introspect(self, client: Client, token: str, caller: Call) -> Mapping[str, Any] | None:
        """Return the facts of a token that holds, by the names of RFC 7662; None for any other, or where it is not the client's.

        :raises OAuthClientError, OAuthRequestError, RateLimitedError: as :meth:`issue`.
        """
        known = await self._know(client, caller)
        _check_token(token)
        found = await self._facts(token)
        if found is None or found["client_id"] == known.account.id:
            return found
        try:
            await self._access.require(known.principal, INTROSPECT)
        except PermissionDeniedError:
            return None
        return found

    async def revoke(self, client: Client, token: str, caller: Call) -> None:
        """End a token; one that does not hold, or is another client's, stays as it is. Raises as :meth:`introspect`."""
        known = None if _is_session(client) else await self._know(client, caller)
        _check_token(token)
        mine = FIRST_PARTY if known is None else known.account.id
        found = await self._facts(token)
        if found is None or found["client_id"] != mine:
            return
        if found["token_type"] == "refresh_token":  # noqa: S105  a kind
            await self._end_session(token, caller)
            return
        now = self._clock()
        until = datetime.fromtimestamp(found["exp"], UTC) + CLOCKS_DIFFER
        entry = Revocation(DEFAULT_TENANT, RevocationKind.TOKEN, found["jti"], until)
        async with self._store.transaction() as transaction:
            await transaction.revoke(entry)
            await transaction.record(_record("auth.token.revoke", found["sub"], f"token:{found['jti']}", caller))
        if until > now:
            self._revocations.add(entry)

    async def _for_client(self, known: _Known, scope: str, caller: Call) -> Issued:
        scopes = tuple(dict.fromkeys(scope.split())) or known.key.scopes
        if not scopes:
            raise OAuthScopeError("The client's key has no scopes: it may do what is public, which needs no token.")
        for wanted in scopes:
            if not grants(known.key.scopes, wanted):
                raise OAuthScopeError(f"The client's key does not cover {wanted[:100]!r}.")
        now = self._clock()
        lifetime = min(self._tokens.lifetime, known.believed_until - now)
        text = " ".join(scopes)
        token = self._tokens.sign_for_client(known.account, known.key.id, text, now, lifetime)
        await self._store.note(_record("auth.token.issue", known.account.id, f"api_key:{known.key.id}", caller))
        return Issued(token, lifetime, text)

    async def _for_session(self, client: Client, scope: str, refresh_token: str, caller: Call) -> Issued:
        if not refresh_token:
            raise OAuthRequestError("refresh_token is missing.")
        if scope.strip():
            raise OAuthScopeError("A session's tokens have no scopes.")
        if not _is_session(client):
            await self._know(client, caller)
            raise OAuthGrantError  # none was issued to it
        try:
            _, tokens = await self._refreshes.refresh(DEFAULT_TENANT, refresh_token, caller)
        except (RefreshInvalidError, RefreshReusedError) as error:
            raise OAuthGrantError(error.detail) from None
        return Issued(tokens.access_token, self._tokens.lifetime, refresh_token=tokens.refresh_token)

    async def _know(self, client: Client, caller: Call) -> _Known:
        """Return the client. Raises OAuthClientError, or RateLimitedError past the limit of logins: failures alone count."""
        try:
            return await self._believe(client, caller)
        except (UnauthenticatedError, PermissionDeniedError) as error:
            await self._limits.charge_place(LOGIN, place_of(caller))
            raise (error if isinstance(error, OAuthClientError) else OAuthClientError()) from None

    async def _believe(self, client: Client, caller: Call) -> _Known:
        if client.assertion:
            found = self._keys.stands(await self._assertions.prove(client.assertion, client.id))
        else:
            (found,) = await self._keys.verify([read_api_key(client.secret, self._environment)])
        key, until = found.key, found.believed_until
        if found.standing is not Standing.VALID or key is None or until is None or client.id not in _names(client, key):
            raise OAuthClientError
        account = await self._store.account(key.tenant, key.owner)
        if account is None or account.email:  # of a person
            raise OAuthClientError
        networks = tuple(ip_network(text) for text in key.allowed_cidrs)
        principal = Principal(
            PrincipalKind.USER,
            account.id,
            account.tenant,
            token_id=key.id,
            scopes=frozenset(key.scopes),
            is_key=True,
            networks=networks,
        )
        refuse_elsewhere(principal, caller.client_address)
        return _Known(account, key, until, principal)

    async def _facts(self, token: str) -> dict[str, Any] | None:
        if is_api_key(token):
            return None
        if "." not in token:
            found = await self._refreshes.find(DEFAULT_TENANT, token)
            if found is None:
                return None
            session = found.session
            return {
                "token_type": "refresh_token",
                "client_id": FIRST_PARTY,
                "sub": session.account_id,
                "exp": int(found.token.expires_at.timestamp()),
            }
        try:
            await self._verifier.verify(token)
        except UnauthenticatedError:
            return None
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})  # it was verified just now
        names = ("iss", "aud", "sub", "client_id", "jti", "iat", "exp", "scope", "auth_time", "acr", "amr")
        facts = {name: claims[name] for name in names if name in claims}
        return {"client_id": FIRST_PARTY, **facts, "token_type": "Bearer"}

    async def _end_session(self, token: str, caller: Call) -> None:
        found = await self._refreshes.find(DEFAULT_TENANT, token)
        if found is None:
            return
        session = found.session
        principal = Principal(PrincipalKind.USER, session.account_id, session.tenant, session=session.id)
        try:
            await self._sessions.revoke(principal, session.id, caller)
        except (SessionNotFoundError, UnauthenticatedError):
            return  # it ended meanwhile


def _is_session(client: Client) -> bool:
    return client.id in {"", FIRST_PARTY} and not client.secret and not client.assertion


def _names(client: Client, key: ApiKey) -> set[str]:
    """Return what a client may call itself: beside an assertion, which names it, nothing too."""
    return {key.owner, ""} if client.assertion else {key.owner}


def _check_token(token: str) -> None:
    if not token or len(token) > _MAX_TOKEN:
        raise OAuthRequestError("token is missing.")


def _record(action: str, actor: str, target: str, caller: Call) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=actor,
        tenant=DEFAULT_TENANT,
        via=caller.principal.via,
        target=target,
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
