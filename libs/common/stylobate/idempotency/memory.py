"""The ledger in memory, for tests."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from stylobate.database.memory import MemoryTransaction
from stylobate.idempotency.errors import KeyTakenError
from stylobate.idempotency.port import Answer, Claim

_Key = tuple[str, str, str, str]


class MemoryIdempotencyLedger:
    """The port in a dictionary."""

    def __init__(self) -> None:
        self._rows: dict[_Key, tuple[Answer, datetime]] = {}
        self._held: set[_Key] = set()

    async def find(self, claim: Claim) -> Answer | None:
        row = self._rows.get(_key(claim))
        return row[0] if row is not None and row[1] > claim.at else None

    async def claim(self, transaction: MemoryTransaction, claims: Sequence[Claim]) -> list[bool]:
        ours = []
        for claim in claims:
            key = _key(claim)
            is_free = key not in self._held and await self.find(claim) is None
            if is_free:
                self._held.add(key)
                transaction.on_end(partial(self._held.discard, key))
            ours.append(is_free)
        return ours

    async def answer(self, transaction: MemoryTransaction, results: Sequence[tuple[Claim, object]]) -> None:
        for claim, result in results:
            if await self.find(claim) is not None:
                raise KeyTakenError
            row = (Answer(claim.request, claim.encode(result)), claim.expires_at)
            transaction.on_commit(partial(self._rows.__setitem__, _key(claim), row))

    async def prune(self, now: datetime) -> int:
        gone = [key for key, (_, expires_at) in self._rows.items() if expires_at <= now]
        for key in gone:
            del self._rows[key]
        return len(gone)


def _key(claim: Claim) -> _Key:
    return claim.tenant, claim.caller, claim.method, claim.key
