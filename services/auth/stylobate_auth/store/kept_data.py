"""What auth keeps of a person, as it is given out to them: its part of the port."""

from collections.abc import Mapping
from typing import Any, Protocol

PARTS = ("account", "roles", "grants", "sessions", "api_keys", "mails", "login_places")
"""What there is, in this order. Nothing of it holds a hash, a token or a secret."""


class KeptData(Protocol):
    """How it is read."""

    async def kept(self, tenant: str, account_id: str, part: str, after: str, limit: int) -> list[Mapping[str, Any]]:
        """Return rows of a part about a person's account, also what is over and not removed yet.

        The first member of a row names it, and rows come in the order of names, from behind ``after``; empty: from the first.

        :raises AccountUnreadableError: what is stored sealed cannot be opened.
        """
