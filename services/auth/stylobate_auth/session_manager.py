"""Sessions: opened at login, lengthened by refreshing, ended by logout or by a sign of theft."""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord, Outcome
from stylobate.clients.bans import BanList
from stylobate.errors import TokenRevokedError, UnauthenticatedError
from stylobate.idempotency import Claim
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import ApiKeyNotEnoughError
from stylobate.ids import new_id
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.paging import no_token, page_position, page_size, page_token
from stylobate.rpc.call import Call

from stylobate_auth.errors import RefreshInvalidError, RefreshReusedError, SessionNotFoundError
from stylobate_auth.jwt_manager import JWTManager
from stylobate_auth.login_limits import REFRESH, LoginLimits
from stylobate_auth.model import Account, RefreshToken, Revocation, RevocationKind, Session, SessionEnd, Tokens, place_of
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.store.port import AuthStore, AuthTransaction, SessionCopies

_SECRET_BYTES = 32
_MAX_TOKEN = 256
_MAX_AGENT = 256
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CLOCKS_DIFFER = timedelta(minutes=1)
"""A revocation outlives the last token by this much: a verifier's clock may be behind."""
_log = get_logger("security")


class SessionManager:
    """Keeps sessions.

    A refresh token is opaque, works once and is kept as its SHA-256 only. A second use ends its session: the deny-list
    then refuses the access tokens too.

    :param refresh_lifetime: how long a refresh token holds, and with it a session that nobody refreshes.
    :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        copies: SessionCopies,
        tokens: JWTManager,
        revocations: RevocationManager,
        limits: LoginLimits,
        *,
        bans: BanList,
        refresh_lifetime: timedelta,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self._store = store
        self._copies = copies
        self._tokens = tokens
        self._revocations = revocations
        self._limits = limits
        self._bans = bans
        self._refresh_lifetime = refresh_lifetime
        self._clock = clock
        self._new_id = new_id

    async def open(self, transaction: AuthTransaction, account: Account, caller: Call) -> tuple[Session, Tokens]:
        """Open a session in the caller's transaction; :meth:`opened` follows the commit. Raises BannedError."""
        self._bans.refuse("", Principal(PrincipalKind.USER, account.id, account.tenant))
        now = self._clock()
        secret, token = self._refresh_token(now)
        session = Session(
            tenant=account.tenant,
            id=self._new_id(),
            account_id=account.id,
            opened_at=now,
            expires_at=token.expires_at,
            token_expires_at=now + self._tokens.lifetime,
            address=caller.client_address,
            agent=caller.client_agent[:_MAX_AGENT],
            seen_at=now,
        )
        await transaction.open_session(session, token)
        await transaction.emit(_event("auth.session.opened", session, caller))
        await transaction.record(_record("auth.login", session, caller))
        return session, self._answer(account, session, secret, now)

    async def opened(self, session: Session) -> None:
        """Keep a copy of a session whose transaction was committed."""
        await self._copies.put(session)

    async def refresh(self, tenant: str, secret: str, caller: Call, claim: Claim | None = None) -> tuple[Account, Tokens]:
        """Exchange a refresh token for new tokens.

        :raises RefreshInvalidError: unknown, expired, or its session is over.
        :raises RefreshReusedError: it was used before; its session is over now.
        :raises RateLimitedError: too many from this address.
        :raises BannedError: the account, its tenant or the session is banned; the token holds on.
        """
        await self._limits.charge_place(REFRESH, place_of(caller))
        if not secret or len(secret) > _MAX_TOKEN:
            raise RefreshInvalidError
        now = self._clock()
        new_secret, new_token = self._refresh_token(now)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            found = await transaction.lock_refresh(tenant, _hash(secret))
            if found is None:
                raise RefreshInvalidError
            token, session = found
            if not session.is_alive(now) or now >= token.expires_at:
                raise RefreshInvalidError
            account = await transaction.account(tenant, session.account_id)
            if account is None:
                raise RefreshInvalidError
            if token.used_at is None:
                self._bans.refuse("", Principal(PrincipalKind.USER, account.id, tenant, session=session.id))
                token_expires_at = max(session.token_expires_at, now + self._tokens.lifetime)
                session = replace(
                    session,
                    expires_at=new_token.expires_at,
                    token_expires_at=token_expires_at,
                    address=caller.client_address,
                    agent=caller.client_agent[:_MAX_AGENT],
                    seen_at=now,
                )
                await transaction.rotate_refresh(session, token, new_token)
                await transaction.record(_record("auth.refresh", session, caller))
                tokens = self._answer(account, session, new_secret, now)
                await transaction.answer(claim, (account, tokens))
            else:
                await self._end(transaction, tenant, session.id, SessionEnd.REFRESH_REUSED, now=now, caller=caller)
        if token.used_at is not None:
            _log.warning(
                "refresh_token_reused", session=session.id, account=session.account_id, used_at=token.used_at.isoformat()
            )
            await self._ended(session, SessionEnd.REFRESH_REUSED, now)
            raise RefreshReusedError
        await self._copies.put(session)
        return account, tokens

    async def logout(self, principal: Principal, caller: Call, claim: Claim | None = None) -> None:
        """End the session of the principal's token. One that is over already stays so. Raises ApiKeyNotEnoughError."""
        if principal.is_key:
            raise ApiKeyNotEnoughError
        if principal.kind is not PrincipalKind.USER:
            raise UnauthenticatedError("This ends the session of an access token.")
        now = self._clock()
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            session = await self._end(transaction, principal.tenant, principal.session, SessionEnd.LOGOUT, now=now, caller=caller)
            await transaction.answer(claim, None)
        if session is not None:
            await self._ended(session, SessionEnd.LOGOUT, now)

    async def alive(self, principal: Principal, size: int, token: str) -> tuple[list[Session], str]:
        """Return a page of the principal's own sessions that live, the newest first, and the token of the next one.

        :raises InvalidInputError: no size or token of ours. :raises TokenRevokedError: the session that asks is over.
        """
        await self._require_own(principal)
        about, most = ("sessions", principal.id), page_size(size)
        before = page_position(about, token)
        if before and not _ID.fullmatch(before):
            raise no_token()
        found = await self._store.sessions(principal.tenant, principal.id, self._clock(), before, most + 1)
        return found[:most], page_token(about, found[most - 1].id) if len(found) > most else ""

    async def revoke(self, principal: Principal, session_id: str, caller: Call, claim: Claim | None = None) -> None:
        """End one of the principal's own sessions. Raises SessionNotFoundError, TokenRevokedError."""
        await self._require_own(principal)
        now, end = self._clock(), SessionEnd.REVOKED
        found = await self._store.session(principal.tenant, session_id)
        if found is None or found.account_id != principal.id or not found.is_alive(now):
            raise SessionNotFoundError
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            session = await self._end(transaction, principal.tenant, found.id, end, now=now, caller=caller)
            await transaction.answer(claim, None)
        if session is not None:
            await self._ended(session, end, now)

    async def revoke_others(self, principal: Principal, caller: Call, claim: Claim | None = None) -> None:
        """End every session of the principal's account but its own. Raises TokenRevokedError."""
        await self._require_own(principal)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await transaction.hold_account(principal.tenant, principal.id)
            if account is None:
                raise TokenRevokedError
            ended = await self.end_others(transaction, account, principal.session, SessionEnd.REVOKED, caller)
            for session in ended:
                await transaction.record(_record("auth.session.revoke", session, caller))
            await transaction.answer(claim, None)
        await self.others_ended(ended)

    async def end_others(
        self, transaction: AuthTransaction, account: Account, but: str, end: SessionEnd, caller: Call
    ) -> list[Session]:
        """End all sessions of an account but one in the caller's transaction; :meth:`others_ended` follows the commit.

        :param but: the id of the session that goes on; empty: none does.
        """
        now = self._clock()
        sessions = await transaction.end_sessions(account.tenant, account.id, but, end, now)
        await transaction.revoke(*(_revocation(session) for session in sessions if session.token_expires_at > now))
        await transaction.emit(*(_event("auth.session.ended", session, caller, reason=end.value) for session in sessions))
        return sessions

    async def others_ended(self, sessions: Iterable[Session]) -> None:
        """Tell this process's watchers of sessions whose end was committed."""
        now = self._clock()
        for session in sessions:
            if session.token_expires_at > now:
                self._revocations.add(_revocation(session))
                await self._copies.put(session)

    async def require_alive(self, principal: Principal) -> Session:
        """Return the session of the principal's token, from its copy where there is one.

        :raises TokenRevokedError: it is over or unknown. :raises ApiKeyNotEnoughError: a key asks, which has none.
        """
        if principal.is_key:
            raise ApiKeyNotEnoughError
        session = await self._copies.get(principal.tenant, principal.session)
        if session is None:
            session = await self._store.session(principal.tenant, principal.session)
            if session is not None:
                await self._copies.add(session)
        if session is None or not session.is_alive(self._clock()):
            raise TokenRevokedError
        return session

    async def _require_own(self, principal: Principal) -> None:
        if principal.kind is not PrincipalKind.USER:
            raise UnauthenticatedError("This is about the sessions of an access token's account.")
        await self.require_alive(principal)

    async def _end(
        self, transaction: AuthTransaction, tenant: str, session_id: str, end: SessionEnd, *, now: datetime, caller: Call
    ) -> Session | None:
        """End a session with all that belongs to it; None when it was over already."""
        session = await transaction.end_session(tenant, session_id, end, now)
        if session is None:
            return None
        await transaction.revoke(_revocation(session))
        await transaction.emit(_event("auth.session.ended", session, caller, reason=end.value))
        if end is not SessionEnd.REFRESH_REUSED:
            action = "auth.logout" if end is SessionEnd.LOGOUT else "auth.session.revoke"
            await transaction.record(_record(action, session, caller))
        else:
            record = _record("auth.refresh", session, caller)
            await transaction.record(replace(record, outcome=Outcome.DENIED, reason=RefreshReusedError.reason))
        return session

    async def _ended(self, session: Session, end: SessionEnd, at: datetime) -> None:
        """Tell this process's watchers at once; the others hear of it from the database."""
        self._revocations.add(_revocation(session))
        await self._copies.put(replace(session, ended_at=at, end=end))

    def _refresh_token(self, now: datetime) -> tuple[str, RefreshToken]:
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        return secret, RefreshToken(_hash(secret), now, now + self._refresh_lifetime)

    def _answer(self, account: Account, session: Session, secret: str, now: datetime) -> Tokens:
        return Tokens(self._tokens.sign(account, session, now), secret, now + self._tokens.lifetime)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()  # 256 random bits need no slow hash


def _revocation(session: Session) -> Revocation:
    return Revocation(session.tenant, RevocationKind.SESSION, session.id, session.token_expires_at + _CLOCKS_DIFFER)


def _event(type: str, session: Session, caller: Call, **more: str) -> Event:  # noqa: A002  CloudEvents' own word
    data = {"user_id": session.account_id, "session_id": session.id, **more}
    who = session.account_id
    return Event.new(type, who, data, source="auth", tenant=session.tenant, actor=who, cause=caller.cause)


def _record(action: str, session: Session, caller: Call) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=session.account_id,
        tenant=session.tenant,
        via=caller.principal.via,
        target=f"session:{session.id}",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
