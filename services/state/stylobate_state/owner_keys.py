"""Keys of owners: what of a namespace is an owner's is sealed with a key of its own, which goes with the owner's account."""

import os
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from stylobate.bounded_dict import BoundedDict
from stylobate.encryption import DataKey, DataKeys, KeyNotOpenedError, key_id_of, sealed_by
from stylobate.encryption.box import SealedInvalidError, open_box, seal_box
from stylobate.encryption.envelope import unseal
from stylobate.logs import get_logger

from stylobate_state.store.owner_keys import KeptOwnerKey, OwnerKeyCount, OwnerKeyStore

KEPT = timedelta(seconds=5)
"""How long a process goes on with a key before it looks whether it was destroyed."""
_MOST = 8192
_OURS = "o"
"""Begins the ids of owners' keys; those of data keys are hexadecimal digits."""
_FORM = sealed_by(_OURS).removesuffix(".")
_log = get_logger("app")


class _Known(NamedTuple):
    kept: KeptOwnerKey
    key: DataKey | None
    """None: it was destroyed."""
    until: float
    """Monotonic."""


def of_owner(text: str) -> bool:
    """Return whether a sealed value was sealed with the key of an owner."""
    return text.startswith(_FORM)


class OwnerKeys:
    """Makes, opens and destroys them. Each is sealed with the data key in use, so that opening many asks for nothing outside.

    With the namespace's next data key every owner gets another one, too.

    :param kept: see :data:`KEPT`.
    """

    def __init__(self, store: OwnerKeyStore, keys: DataKeys, *, kept: timedelta = KEPT) -> None:
        self._store = store
        self._keys = keys
        self._kept_s = kept.total_seconds()
        self._known = BoundedDict[str, _Known](_MOST)
        keys.on_forgotten(self._known.clear)
        self._current = BoundedDict[tuple[str, str, str], str](_MOST)
        """By data key, tenant and owner: the id of the owner's."""

    async def current(self, purpose: str, tenant: str, owner: str) -> DataKey:
        """Return the key that seals what is the owner's now; the first one is made. Raises as :meth:`DataKeys.current`."""
        under = await self._keys.current(purpose)
        place = under.id, tenant, owner
        known = self._known.get(self._current.get(place, ""))
        if known is not None and known.key is not None and known.until > monotonic():
            return known.key
        kept = await self._store.current(*place) or await self._make(under, place, purpose)
        key = (await self._take([kept]))[kept.id].key
        if key is None:
            raise KeyNotOpenedError
        self._current.put(place, kept.id)
        return key

    async def successor(self, id_: str) -> DataKey | None:
        """Return the key that seals now what is of the owner of a key that was fetched; None: it was destroyed, or is unknown."""
        known = self._known.get(id_)
        if known is None or known.key is None:
            return None
        return await self.current(known.kept.purpose, known.kept.tenant, known.kept.owner)

    def is_at_hand(self, text: str, at: float) -> bool:
        """Return whether the key of a sealed value is at hand, at a time (monotonic). Raises SealedInvalidError."""
        known = self._known.get(key_id_of(text))
        return known is not None and known.key is not None and known.until > at

    def opened(self, text: str, about: bytes) -> bytes | None:
        """Return what was sealed; None: its key is not at hand. Raises SealedInvalidError."""
        known = self._known.get(key_id_of(text))
        return None if known is None or known.key is None else unseal(known.key.cipher, text, about)

    def is_destroyed(self, text: str) -> bool:
        """Return whether it is known that the key of a sealed value was destroyed. Raises SealedInvalidError."""
        known = self._known.get(key_id_of(text))
        return known is not None and known.key is None

    async def fetch(self, texts: Iterable[str]) -> None:
        """Have the keys of sealed values at hand, as far as they are kept and can be opened. Raises UnavailableError."""
        if ids := {key_id_of(text) for text in texts}:
            await self._take(await self._store.find(ids))

    async def counts(self) -> Sequence[OwnerKeyCount]:
        """Return how many there are, by purpose. Raises UnavailableError."""
        return await self._store.counts()

    async def destroy(self, purpose: str, tenant: str, owner: str) -> int:
        """Destroy all keys of an owner, and return how many. Every process stops using them within :data:`KEPT`."""
        count = await self._store.destroy(purpose, tenant, owner)
        wanted = (purpose, tenant, owner)
        for kept in [known.kept for known in self._known.values()]:
            if (kept.purpose, kept.tenant, kept.owner) == wanted:
                del self._known[kept.id]
        if count:
            _log.info("owner_keys_destroyed", purpose=purpose, count=count)
        return count

    def _forget_old(self) -> None:
        """Have no keys in memory that nobody looked for lately; those that stand first were looked for first."""
        before = monotonic() - self._kept_s  # what was fetched a moment ago is still to be used
        while self._known and (first := next(iter(self._known.items())))[1].until < before:
            del self._known[first[0]]

    async def _make(self, under: DataKey, place: tuple[str, str, str], purpose: str) -> KeptOwnerKey:
        """Make one, or take the one that another process made at the same moment."""
        _, tenant, owner = place
        id_ = _OURS + secrets.token_hex(6)
        under.sealed += 1
        kept = KeptOwnerKey(id_, purpose, tenant, owner, under.id, b"")
        kept = replace(kept, sealed=seal_box(under.cipher, os.urandom(32), _about(kept)))
        if await self._store.add(kept):
            return kept
        found = await self._store.current(*place)
        if found is None:  # destroyed at this very moment
            raise KeyNotOpenedError
        return found

    async def _take(self, found: Collection[KeptOwnerKey]) -> dict[str, _Known]:
        """Open them, and keep them at hand for a while."""
        under = await self._keys.by_id({kept.sealed_by for kept in found if kept.sealed})
        self._forget_old()
        until, taken = monotonic() + self._kept_s, dict[str, _Known]()
        for kept in found:
            key = None
            if kept.sealed:
                if (above := under.get(kept.sealed_by)) is None:
                    continue
                try:
                    secret = open_box(above.cipher, kept.sealed, _about(kept))
                except SealedInvalidError:
                    _log.error("owner_key_not_opened", key=kept.id, error="it was changed in the database")
                    continue
                key = DataKey(kept.id, kept.purpose, above.generation, secret, AESGCM(secret), until)
            taken[kept.id] = _Known(kept, key, until)
            self._known.put(kept.id, taken[kept.id])
        return taken


def _about(kept: KeptOwnerKey) -> bytes:
    return f"{kept.id}\0{kept.purpose}\0{kept.tenant}\0{kept.owner}".encode()
