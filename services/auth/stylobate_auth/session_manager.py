"""Sessions: opened at login, ended by logout, by their owner, or by a sign of theft. Refreshing stands beside."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from stylobate.audit import AuditRecord, Outcome
from stylobate.clients.bans import BanList
from stylobate.errors import TokenRevokedError, UnauthenticatedError
from stylobate.idempotency import Claim
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import refuse_key
from stylobate.ids import new_id
from stylobate.outbox import Event
from stylobate.paging import no_token, page_position, page_size, page_token
from stylobate.rpc.call import Call

from stylobate_auth.errors import RefreshReusedError, SessionNotFoundError
from stylobate_auth.jwt_manager import JWTManager
from stylobate_auth.model import CLOCKS_DIFFER, Account, Revocation, RevocationKind, Session, SessionEnd, Tokens
from stylobate_auth.refresh_token import RefreshToken, first_token, hash_of
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.session_lifetimes import SessionLifetimes
from stylobate_auth.store.port import AuthStore, AuthTransaction, SessionCopies

MAX_AGENT = 256
"""Characters that are kept of what a client calls itself."""
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A revocation outlives the last token by this much: a verifier's clock may be behind."""


class SessionManager:
    """Keeps sessions.

    :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        copies: SessionCopies,
        tokens: JWTManager,
        revocations: RevocationManager,
        *,
        bans: BanList,
        lifetimes: SessionLifetimes,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self._store = store
        self._copies = copies
        self._tokens = tokens
        self._revocations = revocations
        self._bans = bans
        self._lifetimes = lifetimes
        self._clock = clock
        self._new_id = new_id

    async def open(self, transaction: AuthTransaction, account: Account, caller: Call) -> tuple[Session, Tokens]:
        """Open a session in the caller's transaction; :meth:`opened` follows the commit. Raises BannedError."""
        self._bans.refuse("", Principal(PrincipalKind.USER, account.id, account.tenant))
        now = self._clock()
        secret, ends_at = first_token(), self._lifetimes.end(now, now)
        session = Session(
            tenant=account.tenant,
            id=self._new_id(),
            account_id=account.id,
            opened_at=now,
            expires_at=ends_at,
            token_expires_at=now + self._tokens.lifetime,
            address=caller.client_address,
            agent=caller.client_agent[:MAX_AGENT],
            seen_at=now,
        )
        await transaction.open_session(session, RefreshToken(hash_of(secret), now, ends_at))
        await transaction.emit(_event("auth.session.opened", session, caller))
        await transaction.record(session_record("auth.login", session, caller))
        return session, Tokens(self._tokens.sign(account, session, now), secret, now + self._tokens.lifetime, ends_at)

    async def opened(self, session: Session) -> None:
        """Keep a copy of a session whose transaction was committed."""
        await self._copies.put(session)

    async def logout(self, principal: Principal, caller: Call, claim: Claim | None = None) -> None:
        """End the session of the principal's token. One that is over already stays so. Raises ApiKeyNotEnoughError."""
        refuse_key(principal)
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
        return await self.page(principal.tenant, principal.id, size, token)

    async def page(self, tenant: str, account_id: str, size: int, token: str) -> tuple[list[Session], str]:
        """Return a page of an account's sessions that live, the newest first. Raises InvalidInputError."""
        about, most = ("sessions", account_id), page_size(size)
        before = page_position(about, token)
        if before and not _ID.fullmatch(before):
            raise no_token()
        found = await self._store.sessions(tenant, account_id, self._clock(), before, most + 1)
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
                await transaction.record(session_record("auth.session.revoke", session, caller))
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
        await transaction.revoke(*(entry for entry in map(_revocation, sessions) if entry.expires_at > now))
        await transaction.emit(*(_event("auth.session.ended", session, caller, reason=end.value) for session in sessions))
        return sessions

    async def others_ended(self, sessions: Iterable[Session]) -> None:
        """Tell this process's watchers of sessions whose end was committed."""
        now = self._clock()
        for session in sessions:
            if (entry := _revocation(session)).expires_at > now:
                self._revocations.add(entry)
                await self._copies.put(session)

    async def require_alive(self, principal: Principal) -> Session:
        """Return the session of the principal's token, from its copy where there is one.

        :raises TokenRevokedError: it is over or unknown. :raises ApiKeyNotEnoughError: a key asks, which has none.
        """
        refuse_key(principal)
        session = await self._copies.get(principal.tenant, principal.session)
        now = self._clock()
        if session is None or (session.ended_at is None and not session.is_alive(now)):  # refreshed since it was copied
            session = await self._store.session(principal.tenant, principal.session)
            if session is not None:
                await self._copies.add(session)
        if session is None or not session.is_alive(now):
            raise TokenRevokedError
        return session

    async def end_reused(self, session: Session, caller: Call) -> None:
        """End a session one of whose refresh tokens came long after it was used. One that is over already stays so."""
        now, end = self._clock(), SessionEnd.REFRESH_REUSED
        async with self._store.transaction() as transaction:
            ended = await self._end(transaction, session.tenant, session.id, end, now=now, caller=caller)
        if ended is not None:
            await self._ended(ended, end, now)

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
            await transaction.record(session_record(action, session, caller))
        else:
            record = session_record("auth.refresh", session, caller)
            await transaction.record(replace(record, outcome=Outcome.DENIED, reason=RefreshReusedError.reason))
        return session

    async def _ended(self, session: Session, end: SessionEnd, at: datetime) -> None:
        """Tell this process's watchers at once; the others hear of it from the database."""
        self._revocations.add(_revocation(session))
        await self._copies.put(replace(session, ended_at=at, end=end))


def _revocation(session: Session) -> Revocation:
    """Return the entry of a session. It outlasts its last token a little: the clock of who verifies may be behind ours."""
    return Revocation(session.tenant, RevocationKind.SESSION, session.id, session.token_expires_at + CLOCKS_DIFFER)


def _event(type: str, session: Session, caller: Call, **more: str) -> Event:  # noqa: A002  CloudEvents' own word
    data = {"user_id": session.account_id, "session_id": session.id, **more}
    who = session.account_id
    actor = caller.principal.id or who
    return Event.new(type, who, data, source="auth", tenant=session.tenant, actor=actor, cause=caller.cause)


def session_record(action: str, session: Session, caller: Call) -> AuditRecord:
    """Return what is recorded of something that happened to a session."""
    return AuditRecord(
        action=action,
        actor=session.account_id,
        tenant=session.tenant,
        via=caller.principal.via,
        target=f"session:{session.id}",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
