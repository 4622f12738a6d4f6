"""What auth keeps of API keys: its part of the port."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from stylobate_auth.api_key import ApiKey, NewApiKey


class ApiKeyChanges(Protocol):
    """What a transaction does with keys."""

    async def count_api_keys(self, tenant: str, owner: str, now: datetime) -> int:
        """Return how many keys of an account hold now. Two that count at the same moment wait for each other."""

    async def add_api_key(self, new: NewApiKey) -> None:
        """Add a key. Raises PublicKeyTakenError: the owner has one with this public key that is not revoked."""

    async def replace_api_key(self, key: ApiKey, successor: str, now: datetime, until: datetime) -> ApiKey | None:
        """Note that a key is exchanged and let it end at that time, or before where it does; None: it does not hold any more."""

    async def limit_api_key(self, key: ApiKey, rate_limit: str, now: datetime) -> ApiKey | None:
        """Give a key another limit of its own; empty: none. None: it does not hold any more."""

    async def end_api_key(self, key: ApiKey, at: datetime) -> bool:
        """Revoke a key; return whether it was not revoked before."""


class ApiKeys(Protocol):
    """How keys are read."""

    async def api_key(self, tenant: str, key_id: str) -> ApiKey | None:
        """Return a key, also one that is over; None when there is none."""

    async def api_keys(self, tenant: str, owner: str, after: str, limit: int) -> list[ApiKey]:
        """Return an account's keys that are not revoked, by id, from behind that one; empty: from the first."""

    async def api_keys_by_id(self, ids: Sequence[str]) -> Mapping[str, NewApiKey]:
        """Return keys of any tenant, with the hashes of their secrets, by id."""

    async def public_keys(self, tenant: str, owner: str) -> list[ApiKey]:
        """Return the keys of an account that have a public key and are not revoked, the newest first."""

    async def use_assertion(self, tenant: str, client: str, jti_hash: bytes, until: datetime) -> bool:
        """Return whether this client's assertion was not used before, by anybody; it counts as used until then."""

    async def note_api_keys_used(self, used: Mapping[tuple[str, str], datetime]) -> None:
        """Keep when keys were used last, by tenant and id; never an earlier time than is kept."""
