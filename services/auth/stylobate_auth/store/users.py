"""What auth keeps of people's accounts, as administrators see and change them: its part of the port."""

from datetime import datetime
from typing import Protocol

from stylobate_auth.model import Account
from stylobate_auth.user import UserPlace, UserQuery


class UserChanges(Protocol):
    """What a transaction does with them."""

    async def hold_user(self, tenant: str, account_id: str) -> Account | None:
        """Return a person's account, held against others until the transaction ends; None when there is none."""

    async def set_disabled(self, tenant: str, account_id: str, at: datetime | None) -> None:
        """Disable an account, or enable it with None."""

    async def end_api_keys(self, tenant: str, account_id: str, at: datetime) -> list[str]:
        """Revoke every key of an account that was not; return their ids, sorted."""


class Users(Protocol):
    """How they are read."""

    async def user(self, tenant: str, account_id: str) -> Account | None:
        """Return a person's account; None when there is none."""

    async def users(self, tenant: str, query: UserQuery, after: UserPlace | None, limit: int) -> list[Account]:
        """Return those that fit, in the order in which they were made, from behind that place; None: from the first.

        :param query: its ``email`` is the one that addresses are compared by.
        """
