"""Deleting accounts: at once in auth, then in every other service and module, until all have answered."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from stylobate.errors import StylobateError, UnavailableError
from stylobate.health import Health, Status
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.identity.api_key import refuse_key
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.rpc.call import Call
from stylobate.stopping import end, goes_on

from stylobate_auth.model import Account
from stylobate_auth.password_manager import PasswordManager
from stylobate_auth.store.port import AuthStore
from stylobate_auth.user import UserDeletion
from stylobate_auth.user_manager import UserManager, event_of, record_of

DELETE = "users:delete"
_AT_ONCE = 4
_TAKEN_FOR, _RENEWED_S = timedelta(seconds=5), 1.0
"""For how long a deletion is this process's, and how often that is said again while others are at it."""
_AGAIN_AFTER = timedelta(seconds=2)
_LOOK_S = 5.0
_FAULT_COUNTS_FOR = timedelta(seconds=30)
"""It is tried again much sooner, by this process or another one."""
_log = get_logger("app")


class Others(Protocol):
    """The services that keep something of people."""

    async def forget(self, deletion: UserDeletion) -> None:
        """Let all of them forget an account; twice does no harm. Raises StylobateError where one of them did not."""


class UserEraser:
    """Deletes accounts.

    What is auth's own goes in the transaction that begins it, the address with it. What others keep goes after that: a
    deletion is taken for a time, so that a process that is killed leaves it to the others.

    :param due: set when deletions were committed.
    """

    def __init__(
        self,
        store: AuthStore,
        users: UserManager,
        passwords: PasswordManager,
        others: Others,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._users = users
        self._passwords = passwords
        self._others = others
        self._clock = clock
        self._due = asyncio.Event()
        self._faults: dict[str, tuple[datetime, str]] = {}
        """By account: when others did not forget it, and why. Another process may have had them do it since."""

    async def delete(self, principal: Principal, account_id: str, caller: Call, claim: Claim | None = None) -> None:
        """Delete an account; one that is deleted already stays so.

        :raises PermissionDeniedError: the caller may not, or not all that its roles permit.
        :raises ApiKeyNotEnoughError: a key asks.
        :raises AccountUnknownError: there is none. :raises LastAdministratorError: nobody would be left who may do everything.
        """
        account = await self._users.changed_by(principal, account_id, DELETE)
        if account is not None:
            await self._begin(account, principal, caller, claim)

    async def delete_own(self, principal: Principal, password: str, caller: Call, claim: Claim | None = None) -> None:
        """Delete the principal's own account.

        :raises PasswordWrongError: not the account's. :raises LastAdministratorError: as :meth:`delete`.
        :raises ApiKeyNotEnoughError, TokenRevokedError, RateLimitedError: as for another password.
        """
        refuse_key(principal)
        account = (await self._passwords.prove(principal, password, caller, "auth.user.delete")).account
        await self._begin(account, principal, caller, claim)

    async def _begin(self, account: Account, principal: Principal, caller: Call, claim: Claim | None) -> None:
        now = self._clock()
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            held = await self._users.hold(transaction, account.tenant, account.id)
            ended, entries = await self._users.shut(transaction, held, caller)
            await transaction.begin_deletion(held.tenant, held.id, now)
            await transaction.change_access()
            await transaction.emit(event_of("auth.user.deleting", held, principal, caller))
            await transaction.record(record_of("auth.user.delete", held.tenant, held.id, principal, caller))
            await transaction.answer(claim, None)
        await self._users.was_shut(ended, entries)
        self._due.set()

    async def run(self) -> None:
        """Let others forget, forever."""
        while goes_on():
            self._due.clear()
            taken = 0
            with suppress(UnavailableError):  # the database's own check says so
                taken = await self.step()
            if taken < _AT_ONCE:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_AFTER.total_seconds() if self._faults else _LOOK_S):
                        await self._due.wait()

    async def step(self) -> int:
        """Take up what is due now; return how many. Raises DatabaseUnavailableError."""
        now = self._clock()
        due = await self._store.take_deletions(now, now + _TAKEN_FOR, _AT_ONCE)
        for deletion in due:
            try:
                await self._forget(deletion)
            except StylobateError as error:
                self._faults[deletion.id] = self._clock(), error.reason
                _log.warning("user_not_forgotten", user=deletion.id, reason=error.reason, error=str(error))
                await self._store.delay_deletion(deletion, self._clock() + _AGAIN_AFTER)
            else:
                self._faults.pop(deletion.id, None)
                await self._finish(deletion)
        return len(due)

    async def _forget(self, deletion: UserDeletion) -> None:
        """Let the others forget, and keep the deletion this process's meanwhile."""
        holding = asyncio.create_task(self._hold(deletion))
        try:
            await self._others.forget(deletion)
        finally:
            await end((holding,))

    async def _hold(self, deletion: UserDeletion) -> None:
        while goes_on():
            await asyncio.sleep(_RENEWED_S)
            with suppress(UnavailableError):
                await self._store.delay_deletion(deletion, self._clock() + _TAKEN_FOR)

    async def health(self) -> Health:
        """Degraded while a service or a module has not forgotten an account that it should."""
        recent = self._clock() - _FAULT_COUNTS_FOR
        self._faults = {account: (at, reason) for account, (at, reason) in self._faults.items() if at > recent}
        said = "; ".join(
            f"the account {account} is not forgotten everywhere yet: {why}" for account, (_, why) in self._faults.items()
        )
        return Health(Status.DEGRADED if said else Status.HEALTHY, said[:1000])

    async def _finish(self, deletion: UserDeletion) -> None:
        async with self._store.transaction() as transaction:
            if await transaction.finish_deletion(deletion.tenant, deletion.id, self._clock()):
                data = {"user_id": deletion.id}
                event = Event.new(
                    "auth.user.deleted", deletion.id, data, source="auth", tenant=deletion.tenant, actor="service:auth"
                )
                await transaction.emit(event)
        _log.info("user_deleted", user=deletion.id)
