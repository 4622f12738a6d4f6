"""The port to accounts as they are stored, for encrypting them anew."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class AccountTexts(NamedTuple):
    """What of a person's account says who that is, as it is stored. None: there is none."""

    tenant: str
    id: str
    email: str
    email_key: str
    display_name: str
    new_email: str | None
    new_email_key: str | None
    old_email: str | None


class AccountTextStore(Protocol):
    """Replaces them in place: nobody is told. Raises DatabaseUnavailableError."""

    async def account_texts(self, after: tuple[str, str], most: int) -> Sequence[AccountTexts]:
        """Return those of accounts behind a tenant and an id, in their order; empty at first."""

    async def replace_account_texts(self, old: AccountTexts, new: AccountTexts) -> bool:
        """Put others there, where they are what they were still. Raises EmailTakenError."""
