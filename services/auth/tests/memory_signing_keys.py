"""Signing keys in memory: the parts of the memory store and its transactions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from stylobate_auth.signing_key import SigningKey


class MemorySigningKeyChanges:
    """The part of a transaction."""

    tables: Any

    async def hold_signing_keys(self) -> Sequence[SigningKey]:
        """See the port."""
        return _sorted(self.tables)

    async def add_signing_key(self, key: SigningKey) -> None:
        """See the port."""
        self.tables.signing_keys[key.id] = key


class MemorySigningKeys:
    """The part of the store."""

    _tables: Any

    async def signing_keys(self, now: datetime) -> tuple[Sequence[SigningKey], Sequence[str]]:
        """See the port."""
        return _sorted(self._tables), sorted(name for name, until in self._tables.issuers.items() if until > now)

    async def reseal_signing_key(self, key: SigningKey, sealed: bytes, sealed_by: str) -> None:
        """See the port."""
        known = self._tables.signing_keys[key.id]
        if known.sealed_by == key.sealed_by:
            self._tables.signing_keys[key.id] = replace(known, sealed=sealed, sealed_by=sealed_by)

    async def keep_issuer(self, issuer: str, until: datetime) -> None:
        """See the port."""
        self._tables.issuers[issuer] = max(until, self._tables.issuers.get(issuer, until))

    async def remove_signing_keys(self, used_before: datetime) -> int:
        """See the port."""
        keys, issuers = self._tables.signing_keys, self._tables.issuers
        newest = max((key.signs_from for key in keys.values() if key.signs_from <= used_before), default=used_before)
        over = [key.id for key in keys.values() if key.signs_from < newest and key.signs_from <= used_before]
        for name in over:
            del keys[name]
        gone = [name for name, until in issuers.items() if until <= used_before]
        for name in gone:
            del issuers[name]
        return len(over) + len(gone)


def _sorted(tables: Any) -> Sequence[SigningKey]:
    return sorted(tables.signing_keys.values(), key=lambda key: (key.signs_from, key.id))
