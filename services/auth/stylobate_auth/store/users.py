"""What auth keeps of people's accounts, as administrators see and change them: its part of the port."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from stylobate_auth.model import Account
from stylobate_auth.user import UserDeletion, UserPlace, UserQuery


class UserChanges(Protocol):
    """What a transaction does with them."""

    async def hold_user(self, tenant: str, account_id: str) -> Account | None:
        """Return a person's account, held against others until the transaction ends; None when there is none."""

    async def set_disabled(self, tenant: str, account_id: str, at: datetime | None) -> None:
        """Disable an account, or enable it with None."""

    async def end_api_keys(self, tenant: str, account_id: str, at: datetime) -> list[str]:
        """Revoke every key of an account that was not; return their ids, sorted."""

    async def begin_deletion(self, tenant: str, account_id: str, at: datetime) -> None:
        """Remove an account with all that is its own here, and note that others have still to forget it."""

    async def finish_deletion(self, tenant: str, account_id: str, at: datetime) -> bool:
        """Note that everybody has forgotten it; return whether that was not noted before."""


class Users(Protocol):
    """How they are read."""

    async def user(self, tenant: str, account_id: str) -> Account | None:
        """Return a person's account; None when there is none."""

    async def users_by_id(self, tenant: str, ids: Sequence[str]) -> list[Account]:
        """Return people's accounts with these ids, as many as there are, in any order and without their roles."""

    async def users(self, tenant: str, query: UserQuery, after: UserPlace | None, limit: int) -> list[Account]:
        """Return those that fit, in the order in which they were made, from behind that place; None: from the first.

        :param query: its ``email`` is the one that addresses are compared by.
        """

    async def deletion(self, tenant: str, account_id: str) -> UserDeletion | None:
        """Return what is left of an account that is deleted; None for any other."""

    async def take_deletions(self, now: datetime, until: datetime, most: int) -> list[UserDeletion]:
        """Return deletions that are due, and make them due again at ``until``: nobody else gets them meanwhile."""

    async def delay_deletion(self, deletion: UserDeletion, until: datetime) -> None:
        """Try one again at another time."""
