"""The port to where data keys are kept, sealed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A data key as it is kept."""

    id: str
    purpose: str
    """What it seals, such as ``state/orders``: keys of one purpose open nothing of another."""
    generation: int
    """From 1, within the purpose; the highest one seals."""
    sealed: bytes
    """By the key-encryption key, for its id and purpose."""
    sealed_by: str
    """The id of that key."""
    created_at: datetime
    age: timedelta
    """By the store's own clock."""
    is_replaced: bool = False
    """Whether everything that it had sealed was sealed with a later one."""


class DataKeyStore(Protocol):
    """Keeps data keys. Every method is one atomic step, and raises DatabaseUnavailableError."""

    async def newest(self, purpose: str) -> KeptKey | None:
        """Return the key of the highest generation; None where there is none."""

    async def find(self, ids: Collection[str]) -> Sequence[KeptKey]:
        """Return those of the ids that are kept."""

    async def all(self) -> Sequence[KeptKey]:
        """Return every key, by purpose and generation."""

    async def add(self, key: KeptKey) -> bool:
        """Keep another one; its times are the store's. False: there is one of its purpose and generation, nothing happened."""

    async def replaced(self, purpose: str, below: int) -> None:
        """Note that everything is sealed with this generation, or a later one."""

    async def reseal(self, id_: str, sealed_by: str, sealed: bytes, now_by: str) -> None:
        """Keep a key sealed by another key-encryption key, unless somebody was faster."""
