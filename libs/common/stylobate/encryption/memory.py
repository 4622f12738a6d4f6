"""Data keys in memory: for tests."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from stylobate.encryption.port import KeptKey


class MemoryDataKeyStore:
    """A DataKeyStore in a dictionary. One process only."""

    def __init__(self) -> None:
        self.keys: dict[str, KeptKey] = {}

    async def newest(self, purpose: str) -> KeptKey | None:
        found = [key for key in await self.all() if key.purpose == purpose]
        return found[-1] if found else None

    async def find(self, ids: Collection[str]) -> Sequence[KeptKey]:
        return [key for key in await self.all() if key.id in ids]

    async def all(self) -> Sequence[KeptKey]:
        now = datetime.now(UTC)
        kept = (replace(key, age=now - key.created_at) for key in self.keys.values())
        return sorted(kept, key=lambda key: (key.purpose, key.generation))

    async def add(self, key: KeptKey) -> bool:
        if any((one.purpose, one.generation) == (key.purpose, key.generation) for one in self.keys.values()):
            return False
        self.keys[key.id] = replace(key, created_at=datetime.now(UTC), age=timedelta())
        return True

    async def replaced(self, purpose: str, below: int) -> None:
        for key in self.keys.values():
            if key.purpose == purpose and key.generation < below:
                self.keys[key.id] = replace(key, is_replaced=True)

    async def reseal(self, id_: str, sealed_by: str, sealed: bytes, now_by: str) -> None:
        if (key := self.keys.get(id_)) is not None and key.sealed_by == sealed_by:
            self.keys[id_] = replace(key, sealed=sealed, sealed_by=now_by)
