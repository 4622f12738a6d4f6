"""Grants in memory: the parts of the memory store and its transactions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stylobate_auth.grant import Grant, GrantPlace, GrantQuery, GrantQuestion

_Name = tuple[str, str, str, str]


def name_of(grant: Grant) -> _Name:
    """Return what tells one grant from all others."""
    return grant.tenant, grant.subject, grant.permission, grant.resource


class MemoryGrantChanges:
    """The part of a transaction."""

    tables: Any

    async def grant(self, like: Grant) -> Grant | None:
        """See the port."""
        found: Grant | None = self.tables.grants.get(name_of(like))
        return found

    async def put_grant(self, grant: Grant) -> None:
        """See the port."""
        self.tables.grants[name_of(grant)] = grant

    async def remove_grant(self, like: Grant) -> bool:
        """See the port."""
        return self.tables.grants.pop(name_of(like), None) is not None

    async def end_grants(self, now: datetime, most: int) -> list[Grant]:
        """See the port."""
        due = [one for one in self.tables.grants.values() if one.expires_at is not None and one.expires_at <= now]
        due = sorted(due, key=lambda one: one.expires_at)[:most]
        for one in due:
            del self.tables.grants[name_of(one)]
        return due


def remove_grants_of(tables: Any, tenant: str, subject: str) -> None:
    """Remove all that a subject has been granted."""
    tables.grants = {name: one for name, one in tables.grants.items() if name[:2] != (tenant, subject)}


class MemoryGrants:
    """The part of the store."""

    _tables: Any

    async def granted(self, questions: Sequence[GrantQuestion], now: datetime, most: int) -> list[list[str]]:
        """See the port."""
        return [sorted({one.resource for one in self._answers(question, now)})[:most] for question in questions]

    async def covering_grants(self, questions: Sequence[GrantQuestion], now: datetime) -> list[list[Grant]]:
        """See the port."""
        return [[one for one in self._answers(question, now) if one.resource in question.resources] for question in questions]

    async def granted_under(self, question: GrantQuestion, under: str, after: str, now: datetime, most: int) -> list[str]:
        """See the port."""
        found = {one.resource for one in self._answers(question, now)}
        return sorted(name for name in found if name.startswith(under) and name not in {"", under} and name > after)[:most]

    async def grants(self, tenant: str, query: GrantQuery, after: GrantPlace | None, now: datetime, most: int) -> list[Grant]:
        """See the port."""

        def place(one: Grant) -> tuple[str, ...]:
            return one.subject, one.permission, one.resource

        begin = None if after is None else place(Grant(tenant, *after))
        found = [
            one
            for one in self._living(tenant, now)
            if query.subject in {"", one.subject}
            and query.permission in {"", one.permission}
            and (
                query.resource in {"", one.resource} or (query.resource.endswith("/") and one.resource.startswith(query.resource))
            )
            and (begin is None or place(one) > begin)
        ]
        return sorted(found, key=place)[:most]

    async def next_grant_end(self) -> datetime | None:
        """See the port."""
        return min((one.expires_at for one in self._tables.grants.values() if one.expires_at is not None), default=None)

    def _living(self, tenant: str, now: datetime) -> list[Grant]:
        found = [one for one in self._tables.grants.values() if one.tenant == tenant]
        return [one for one in found if one.expires_at is None or one.expires_at > now]

    def _answers(self, question: GrantQuestion, now: datetime) -> list[Grant]:
        found = [
            one
            for one in self._living(question.tenant, now)
            if one.subject in question.subjects and one.permission in question.permissions
        ]
        return sorted(found, key=lambda one: (one.subject, one.permission, one.resource))
