"""Until when somebody may: what is handed on lasts no longer than who hands it on has it."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime

from stylobate.errors import Violation
from stylobate.identity import Principal

from stylobate_auth.access_grants import AccessGrants
from stylobate_auth.errors import AuthInvalidInputError
from stylobate_auth.grant import ROLE
from stylobate_auth.model import Question
from stylobate_auth.role_book import RoleBook
from stylobate_auth.store.port import AuthStore

Right = tuple[str, str]
"""A permission, and the resource it is held on; empty: everywhere."""


class AccessUntil:
    """Tells when rights end that a principal has now. Asked after it was found to have them.

    :param book: what roles mean in a tenant. :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        book: Callable[[str], Awaitable[RoleBook]],
        grants: AccessGrants,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._book = book
        self._grants = grants
        self._clock = clock

    async def rights(self, principal: Principal, rights: Collection[Right]) -> datetime | None:
        """Return when the first of these ends for the principal; None: none does by itself."""
        if not rights or (principal.is_service and not principal.act_for):
            return None
        now, book = self._clock(), await self._book(principal.tenant)
        held = await self._store.held_roles(principal.tenant, principal.subject)
        ends = {role.role: role.expires_at for role in held if role.expires_at is None or role.expires_at > now}
        first: datetime | None = None
        for permission, resource in rights:
            found = [end for role, end in ends.items() if book.permits((role,), permission)]
            if resource and None not in found:
                found += await self._granted(principal, (permission, resource), ends, book)
            if None not in found:
                last = max((end for end in found if end is not None), default=now)
                first = last if first is None else min(first, last)
        return first

    async def roles(self, principal: Principal, roles: Iterable[str]) -> datetime | None:
        """Return the same of all that roles permit and are granted."""
        book = await self._book(principal.tenant)
        ways = {way[-1] for role in roles for way in book.paths(role)}
        rights = {(permission, "") for role in ways for permission in book.permissions(role)}
        for role in ways:
            rights.update(await self._grants.of_subject(principal.tenant, f"{ROLE}{role}"))
        return await self.rights(principal, rights)

    async def account(self, principal: Principal, account_id: str, roles: Iterable[str]) -> datetime | None:
        """Return the same of all that an account may that holds these roles."""
        granted = await self._grants.of_subject(principal.tenant, account_id)
        found = [await self.roles(principal, roles), await self.rights(principal, granted)]
        return min((end for end in found if end is not None), default=None)

    async def _granted(
        self, principal: Principal, right: Right, ends: dict[str, datetime | None], book: RoleBook
    ) -> list[datetime | None]:
        """Return when the grants end by which the principal has a right, each with the role that it comes by."""
        permission, resource = right
        ways = {role: {way[-1] for way in book.paths(role)} for role in ends}
        question = Question(principal.subject, permission, principal.tenant, resource)
        found: list[datetime | None] = []
        for grant in await self._grants.reasons(question, sorted({name for names in ways.values() for name in names})):
            by = [ends[role] for role, names in ways.items() if grant.role in names] if grant.role else [None]
            found += [_first(grant.expires_at, end) for end in by]
        return found


def refuse_longer(latest: datetime | None, end: datetime | None = None, *, pointer: str = "/expires_at") -> None:
    """Return when what is handed on ends in time.

    :param latest: when who hands it on has it no more; None: never. :param end: of what is handed on; None: it has none.
    :raises AuthInvalidInputError: it would last longer.
    """
    if latest is not None and (end is None or end > latest):
        detail = f"lasts until {latest.isoformat()} at the longest: until then you have it yourself"
        raise AuthInvalidInputError("What is given would last longer than you have it.", violations=[Violation(pointer, detail)])


def _first(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((end for end in (one, other) if end is not None), default=None)
