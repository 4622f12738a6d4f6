"""Refreshing: a refresh token is exchanged for the next one, and those who race with it get the same."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from stylobate.audit import AuditRecord
from stylobate.batching import Batcher
from stylobate.clients.bans import BanList
from stylobate.errors import StylobateError
from stylobate.idempotency import Claim
from stylobate.identity import Principal, PrincipalKind
from stylobate.logs import get_logger
from stylobate.rpc.call import Call

from stylobate_auth.errors import RefreshInvalidError, RefreshReusedError
from stylobate_auth.jwt_manager import JWTManager
from stylobate_auth.login_limits import REFRESH, LoginLimits
from stylobate_auth.model import Account, Session, Tokens, place_of
from stylobate_auth.outages import LONGEST as LONGEST_OUTAGE
from stylobate_auth.outages import Outages
from stylobate_auth.refresh_token import LONGEST, FoundRefresh, RefreshToken, Rotation, deriving_secret, hash_of, next_token
from stylobate_auth.session_lifetimes import SessionLifetimes
from stylobate_auth.session_manager import MAX_AGENT, SessionManager, session_record
from stylobate_auth.store.port import AuthStore
from stylobate_auth.store.sessions import RefreshKey, RefreshTokens

_BATCH = 128
_log = get_logger("security")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A refresh token that came, and from whom."""

    tenant: str
    token: str = field(repr=False)
    caller: Call

    @property
    def key(self) -> RefreshKey:
        return self.tenant, hash_of(self.token)


@dataclass(frozen=True, slots=True)
class _Refreshed:
    """What becomes of it."""

    account: Account
    session: Session
    token: str = field(repr=False)
    """The next one."""


class _UsedBeforeError(Exception):
    """The token was used longer ago than those who race with it need."""

    def __init__(self, found: FoundRefresh) -> None:
        super().__init__()
        self.found = found


class RefreshManager:
    """Exchanges refresh tokens; an async context manager.

    A refresh token is opaque and kept as its SHA-256 only. The next one is derived from it and a secret of the session, so who
    comes again with it within the grace time gets the same next one; later it ends the session, and the deny-list refuses its
    access tokens too. Refreshes that come together are written together.

    :param outages: of the database: they do not count as time in which somebody could have come again.
    :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        sessions: SessionManager,
        tokens: JWTManager,
        limits: LoginLimits,
        *,
        bans: BanList,
        lifetimes: SessionLifetimes,
        outages: Outages,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._tokens = tokens
        self._limits = limits
        self._bans = bans
        self._lifetimes = lifetimes
        self._outages = outages
        self._clock = clock
        # Of several with one token the first rotates it, and the others find what it did. One batch at a time: with a second one
        # under way both are smaller, and what a batch costs is most of what few refreshes cost.
        self._asked: Batcher[_Asked, _Refreshed] = Batcher(
            self._refresh_all, max_size=_BATCH, in_flight=1, keys=lambda asked: (asked.key,)
        )

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._asked.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish what is under way."""
        await self._asked.__aexit__(kind, error, trace)

    async def refresh(self, tenant: str, token: str, caller: Call, claim: Claim | None = None) -> tuple[Account, Tokens]:
        """Exchange a refresh token for new tokens.

        :raises RefreshInvalidError: unknown, expired, or its session is over.
        :raises RefreshReusedError: it was used before, and not just now; its session is over now.
        :raises RateLimitedError: too many from this address.
        :raises BannedError: the account, its tenant or the session is banned; the token holds on.
        """
        await self._limits.charge_place(REFRESH, place_of(caller))
        asked = _Asked(tenant, token, caller)
        try:
            if claim is not None:
                return await self._refresh_once(asked, claim)
            return self._answer(await self._asked.submit(asked))
        except _UsedBeforeError as error:
            used = error.found
        _log.warning("refresh_token_reused", session=used.session.id, account=used.account.id, used_before=str(used.since_used))
        await self._sessions.end_reused(used.session, caller)
        raise RefreshReusedError

    async def find(self, tenant: str, token: str) -> FoundRefresh | None:
        """Return what a refresh token is that would be exchanged now; None for any other text."""
        found = (await self._store.refresh_tokens([(tenant, hash_of(token))]))[0]
        return found if found is not None and self._holds(found) and found.since_used is None else None

    async def _refresh_once(self, asked: _Asked, claim: Claim) -> tuple[Account, Tokens]:
        """Refresh under an idempotency key: its answer is kept in the transaction."""
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            found = await self._found(asked, transaction)
            refreshed: _Refreshed | None = None
            if found.since_used is None:
                rotation, refreshed = self._rotation(asked, found)
                if not (await transaction.rotate_refresh([rotation]))[0]:
                    found, refreshed = await self._found(asked, transaction), None
            refreshed = refreshed or await self._newest(asked, found, transaction)
            await transaction.record(_record(refreshed, asked))
            answer = self._answer(refreshed)
            await transaction.answer(claim, answer)
        return answer

    async def _refresh_all(self, batch: list[_Asked]) -> list[_Refreshed | Exception]:
        answers: dict[int, _Refreshed | Exception] = {}
        planned: dict[int, tuple[Rotation, _Refreshed]] = {}
        sessions: set[tuple[str, str]] = set()
        for number, found in enumerate(await self._store.refresh_tokens([asked.key for asked in batch])):
            asked = batch[number]
            try:
                held = self._checked(asked, found)
                if held.since_used is not None:
                    answers[number] = await self._again(asked, held)
                elif (one := (asked.tenant, held.session.id)) in sessions:  # two tokens of one session that nobody used yet
                    raise RefreshInvalidError
                else:
                    sessions.add(one)
                    planned[number] = self._rotation(asked, held)
            except (StylobateError, _UsedBeforeError) as error:
                answers[number] = error
        if planned:
            rotations = [(rotation, _record(one, batch[number])) for number, (rotation, one) in planned.items()]
            done = await self._store.rotate(rotations)
            for (number, (_, refreshed)), is_done in zip(planned.items(), done, strict=True):
                answers[number] = refreshed if is_done else await self._overtaken(batch[number])
        return [answers[number] for number in range(len(batch))]

    async def _overtaken(self, asked: _Asked) -> _Refreshed | Exception:
        """Return what becomes of a token that another process used, or whose session ended, since we looked."""
        try:
            return await self._again(asked, await self._found(asked, self._store))
        except (StylobateError, _UsedBeforeError) as error:
            return error

    async def _again(self, asked: _Asked, found: FoundRefresh) -> _Refreshed:
        refreshed = await self._newest(asked, found, self._store)
        await self._store.note(_record(refreshed, asked))
        return refreshed

    async def _found(self, asked: _Asked, tokens: RefreshTokens) -> FoundRefresh:
        return self._checked(asked, (await tokens.refresh_tokens([asked.key]))[0])

    def _checked(self, asked: _Asked, found: FoundRefresh | None) -> FoundRefresh:
        """Return a token that may be exchanged, as far as its time and its session say. Raises RefreshInvalidError."""
        if found is None or len(asked.token) > LONGEST or not self._holds(found):
            raise RefreshInvalidError
        return found

    def _holds(self, found: FoundRefresh) -> bool:
        now, session = self._clock(), found.session
        ends_at = min(found.token.expires_at, session.opened_at + self._lifetimes.absolute)
        return session.is_alive(now) and now < ends_at

    def _rotation(self, asked: _Asked, found: FoundRefresh) -> tuple[Rotation, _Refreshed]:
        """Return how a token is exchanged that was not used yet. Raises BannedError."""
        self._refuse_banned(found)
        now = self._clock()
        ends_at = self._lifetimes.end(found.session.opened_at, now)
        # those who come again get access tokens as well, without a write
        token_ends_at = now + self._tokens.lifetime + self._lifetimes.grace + LONGEST_OUTAGE
        session = replace(
            found.session,
            expires_at=ends_at,
            token_expires_at=max(found.session.token_expires_at, token_ends_at),
            address=asked.caller.client_address,
            agent=asked.caller.client_agent[:MAX_AGENT],
            seen_at=now,
        )
        secret = deriving_secret(found, self._counted(found.since_issued), self._lifetimes.grace)
        token = next_token(asked.token, session, secret)
        following = RefreshToken(hash_of(token), now, ends_at)
        return Rotation(session, found.token, following, secret), _Refreshed(found.account, session, token)

    async def _newest(self, asked: _Asked, found: FoundRefresh, tokens: RefreshTokens) -> _Refreshed:
        """Return the token that nobody used yet, from one that was used just now.

        :raises _UsedBeforeError: it was used longer ago.
        :raises RefreshInvalidError: a process of the release before exchanged it, so the next one cannot be told.
        """
        if found.since_used is not None and self._counted(found.since_used) > self._lifetimes.grace:
            raise _UsedBeforeError(found)
        self._refuse_banned(found)
        token, one = asked.token, found
        while one.since_used is not None and one.secret:
            token = next_token(token, one.session, one.secret)
            following = (await tokens.refresh_tokens([(asked.tenant, hash_of(token))]))[0]
            if following is None:
                break
            one = following
        if one is found or one.since_used is not None:
            raise RefreshInvalidError
        return _Refreshed(one.account, one.session, token)

    def _counted(self, past: timedelta) -> timedelta:
        """Return how much of the time since then somebody could have asked."""
        return past - self._outages.within(past)

    def _refuse_banned(self, found: FoundRefresh) -> None:
        account = found.account
        self._bans.refuse("", Principal(PrincipalKind.USER, account.id, account.tenant, session=found.session.id))

    def _answer(self, refreshed: _Refreshed) -> tuple[Account, Tokens]:
        now = self._clock()
        access_token = self._tokens.sign(refreshed.account, refreshed.session, now)
        return refreshed.account, Tokens(access_token, refreshed.token, now + self._tokens.lifetime, refreshed.session.expires_at)


def _record(refreshed: _Refreshed, asked: _Asked) -> AuditRecord:
    return session_record("auth.refresh", refreshed.session, asked.caller)
