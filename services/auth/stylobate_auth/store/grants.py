"""What auth keeps of grants: its part of the port."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from stylobate_auth.grant import Grant, GrantPlace, GrantQuery, GrantQuestion


class GrantChanges(Protocol):
    """What a transaction does with them. Whoever gives one to an account holds the account first."""

    async def grant(self, like: Grant) -> Grant | None:
        """Return the grant of the same subject, permission and resource, also one whose end has come; None: there is none."""

    async def put_grant(self, grant: Grant) -> None:
        """Keep a grant, in place of one of the same subject, permission and resource."""

    async def remove_grant(self, like: Grant) -> bool:
        """Remove the grant of the same subject, permission and resource; return whether there was one."""

    async def end_grants(self, now: datetime, most: int) -> list[Grant]:
        """Remove grants whose end has come, that nobody else is removing, and return them."""


class Grants(Protocol):
    """How they are read. Those whose end has come are left out."""

    async def granted(self, questions: Sequence[GrantQuestion], now: datetime, most: int) -> list[list[str]]:
        """Return the resources of grants for each question, sorted and without repetition; at most as many as are asked for."""

    async def covering_grants(self, questions: Sequence[GrantQuestion], now: datetime) -> list[list[Grant]]:
        """Return for each question, all of which name resources, the grants on these, by subject, permission and resource."""

    async def granted_under(self, question: GrantQuestion, under: str, after: str, now: datetime, most: int) -> list[str]:
        """Return as :meth:`granted` those that lie in a prefix (empty: all), behind the resource ``after``."""

    async def grants(self, tenant: str, query: GrantQuery, after: GrantPlace | None, now: datetime, most: int) -> list[Grant]:
        """Return those that fit by subject, permission and resource, as bytes; from behind that place, None: from the first."""

    async def next_grant_end(self) -> datetime | None:
        """Return when the first grant that has an end ends; None: none has."""
