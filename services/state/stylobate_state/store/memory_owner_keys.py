"""Keys of owners in memory: for tests."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from stylobate_state.store.owner_keys import KeptOwnerKey, OwnerKeyCount


class MemoryOwnerKeyStore:
    """An OwnerKeyStore in a dictionary. One process only."""

    def __init__(self) -> None:
        self.keys: dict[str, KeptOwnerKey] = {}

    async def find(self, ids: Collection[str]) -> Sequence[KeptOwnerKey]:
        """See OwnerKeyStore."""
        return [self.keys[id_] for id_ in ids if id_ in self.keys]

    async def current(self, sealed_by: str, tenant: str, owner: str) -> KeptOwnerKey | None:
        """See OwnerKeyStore."""
        wanted = (sealed_by, tenant, owner)
        return next((key for key in self.keys.values() if (key.sealed_by, key.tenant, key.owner) == wanted), None)

    async def add(self, key: KeptOwnerKey) -> bool:
        """See OwnerKeyStore."""
        if await self.current(key.sealed_by, key.tenant, key.owner) is not None:
            return False
        self.keys[key.id] = key
        return True

    async def counts(self) -> Sequence[OwnerKeyCount]:
        """See OwnerKeyStore."""
        made = []
        for purpose in sorted({key.purpose for key in self.keys.values()}):
            here = [key for key in self.keys.values() if key.purpose == purpose]
            there = [key for key in here if key.owner]
            owners, tenants = {(key.tenant, key.owner) for key in there}, {key.tenant for key in there}
            made.append(OwnerKeyCount(purpose, len(there), len(owners), len(tenants), len(here) - len(there)))
        return made

    async def destroy(self, purpose: str, tenant: str, owner: str) -> int:
        """See OwnerKeyStore."""
        gone = [key for key in self.keys.values() if (key.purpose, key.tenant, key.owner) == (purpose, tenant, owner)]
        self.keys |= {key.id: replace(key, owner="", sealed=b"") for key in gone}
        return len(gone)
