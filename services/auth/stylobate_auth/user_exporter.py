"""Exporting accounts: all that the platform keeps of a person, as one document."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from stylobate.errors import TokenRevokedError, UnauthenticatedError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import refuse_key
from stylobate.rpc.call import Call

from stylobate_auth.devices import devices_of
from stylobate_auth.errors import AccountUnknownError, LoginNotFreshError
from stylobate_auth.export_document import Part, Told, document, section
from stylobate_auth.login_limits import LoginLimits
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.store.kept_data import PARTS
from stylobate_auth.store.port import AuthStore
from stylobate_auth.user_manager import UserManager, record_of

EXPORT = "users:export"
_PAGE = 500


class Sources(Protocol):
    """What there is to export beside auth's own."""

    def told(self, tenant: str, user_id: str, request_id: str) -> AsyncGenerator[Told, None]:
        """Tell every section; what cannot be read ends its section with an error."""


class UserExporter:
    """Exports accounts.

    :param fresh: how long ago a login may be whose session exports its own account.
    :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        users: UserManager,
        sessions: SessionManager,
        sources: Sources,
        *,
        limits: LoginLimits,
        fresh: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._users = users
        self._sessions = sessions
        self._sources = sources
        self._limits = limits
        self._fresh = fresh
        self._clock = clock

    async def export(self, principal: Principal, account_id: str, caller: Call) -> AsyncGenerator[Part, None]:
        """Export an account.

        :raises PermissionDeniedError: the caller may not, or not all that its roles permit.
        :raises AccountUnknownError: there is none, or it is deleted. :raises ApiKeyNotEnoughError: a key asks.
        :raises RateLimitedError: the caller exports too many.
        """
        account = await self._users.changed_by(principal, account_id, EXPORT)
        if account is None:
            raise AccountUnknownError
        if not principal.is_service:
            await self._limits.charge_export(principal.id)
        async for part in self._parts(principal, account.tenant, account.id, caller):
            yield part

    async def export_own(self, principal: Principal, caller: Call) -> AsyncGenerator[Part, None]:
        """Export the principal's own account.

        :raises LoginNotFreshError: the login of its session was not a moment ago. :raises TokenRevokedError: the session is over.
        :raises ApiKeyNotEnoughError: a key asks. :raises RateLimitedError: too many exports.
        """
        refuse_key(principal)
        if principal.kind is not PrincipalKind.USER:
            raise UnauthenticatedError("This is about the account of an access token.")
        session = await self._sessions.require_alive(principal)
        if self._clock() - session.opened_at > self._fresh:
            raise LoginNotFreshError(metadata={"max_age": str(int(self._fresh.total_seconds()))})
        if await self._store.user(principal.tenant, principal.id) is None:
            raise TokenRevokedError
        await self._limits.charge_export(principal.id)
        async for part in self._parts(principal, principal.tenant, principal.id, caller):
            yield part

    async def _parts(self, principal: Principal, tenant: str, account_id: str, caller: Call) -> AsyncIterator[Part]:
        async with self._store.transaction() as transaction:  # it is recorded before anything is given out
            await transaction.record(record_of("auth.user.export", tenant, account_id, principal, caller))
        async for part in document(account_id, self._clock(), self._told(tenant, account_id, caller)):
            yield part

    async def _told(self, tenant: str, account_id: str, caller: Call) -> AsyncIterator[Told]:
        for name in PARTS:
            async for told in section("auth", name, self._kept(tenant, account_id, name)):
                yield told
        async for told in self._sources.told(tenant, account_id, caller.request_id):
            yield told

    async def _kept(self, tenant: str, account_id: str, part: str) -> AsyncIterator[Mapping[str, Any]]:
        after = ""
        while True:
            rows = await self._store.kept(tenant, account_id, part, after, _PAGE)
            devices = await devices_of(row["agent"] for row in rows) if part == "sessions" else {}
            for row in rows:
                yield {**row, "device": devices[row["agent"]]} if part == "sessions" else row
            if len(rows) < _PAGE:
                return
            after = str(next(iter(rows[-1].values())))
