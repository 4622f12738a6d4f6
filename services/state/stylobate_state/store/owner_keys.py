"""The port to the keys of owners: of each a data key of its own, sealed with that of the namespace."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeptOwnerKey:
    """An owner's key as it is kept."""

    id: str
    purpose: str
    """That of the namespace's data keys."""
    tenant: str
    owner: str
    """Whose it is; empty: it was destroyed, and is known by its id alone."""
    sealed_by: str
    """The id of the data key that it is sealed with."""
    sealed: bytes
    """Empty: it was destroyed."""


@dataclass(frozen=True, slots=True)
class OwnerKeyCount:
    """How the keys of a namespace's owners stand, for operators."""

    purpose: str
    keys: int
    """That are there: an owner has one for each of the namespace's data keys that sealed something of theirs."""
    owners: int
    """Whose they are."""
    tenants: int
    """Whose owners have any."""
    destroyed: int
    """Keys that went with an account."""


class OwnerKeyStore(Protocol):
    """Keeps keys of owners. Every method is one atomic step, and raises DatabaseUnavailableError. No row is ever removed."""

    async def find(self, ids: Collection[str]) -> Sequence[KeptOwnerKey]:
        """Return those of the ids that were ever made, destroyed ones too."""

    async def current(self, sealed_by: str, tenant: str, owner: str) -> KeptOwnerKey | None:
        """Return an owner's key that is sealed with this data key; None where there is none, or it was destroyed."""

    async def add(self, key: KeptOwnerKey) -> bool:
        """Keep another one. False: the owner has one that is sealed with this data key, nothing happened."""

    async def counts(self) -> Sequence[OwnerKeyCount]:
        """Return how many there are, by purpose."""

    async def destroy(self, purpose: str, tenant: str, owner: str) -> int:
        """Destroy all keys of an owner for a purpose, and return how many; nothing of them stays but their ids."""
