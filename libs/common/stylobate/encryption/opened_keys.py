"""Data keys in memory: opened when they are needed, and opened anew in time where somebody else has to do it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stylobate.encryption.key_encryption import KeyEncryption, KeyNotOpenedError
from stylobate.encryption.port import DataKeyStore, KeptKey
from stylobate.errors import UnavailableError
from stylobate.logs import get_logger

_TURNS = 20
"""How often is looked, within the time for which a key is used."""
_log = get_logger("app")


@dataclass(slots=True)
class DataKey:
    """A key, opened."""

    id: str
    purpose: str
    generation: int
    secret: bytes
    cipher: AESGCM
    until: float
    """When it is to be opened anew at the latest (monotonic)."""
    sealed: int = 0
    """Values that this process has sealed with it."""
    is_used: bool = True
    """Whether it was needed since it was opened last."""


class OpenedKeys:
    """The keys that were opened, by id.

    Where the port says for how long that lasts (Vault's Transit does), a key that is used is opened anew after half of that
    time: who may not have it opened any more has it no longer. While nobody can be asked it is used until the time is over.
    """

    def __init__(self, store: DataKeyStore, encryption: KeyEncryption) -> None:
        self._store = store
        self._encryption = encryption
        self.keys: dict[str, DataKey] = {}
        self.unopened: set[str] = set()
        """Ids of keys that were needed and could not be opened here."""
        self.hearers: list[Callable[[], None]] = []

    async def open(self, kept: KeptKey) -> DataKey:
        """Return a key opened. Raises KeyNotOpenedError, KeyEncryptionUnavailableError."""
        if (known := self.keys.get(kept.id)) is not None:
            known.is_used = True
            return known
        return self.put(kept, await self._open(kept))

    def put(self, kept: KeptKey, secret: bytes) -> DataKey:
        """Have a key at hand that was opened, or made; return it, or the one that was there."""
        key = DataKey(kept.id, kept.purpose, kept.generation, secret, AESGCM(secret), self._until())
        return self.keys.setdefault(kept.id, key)

    @property
    def pause_s(self) -> float:
        """How often :meth:`open_anew` is to be called, in seconds."""
        return self._lasts_s / _TURNS

    async def open_anew(self) -> None:
        """Open anew what is used and has had half of its time; forget what is not kept any more, or must not be opened."""
        now = monotonic()
        due = {key.id: key for key in self.keys.values() if key.is_used and key.until - now <= self._lasts_s / 2}
        with suppress(UnavailableError):  # what that leaves is due at the next turn, too
            found = {kept.id: kept for kept in await self._store.find([*due])} if due else {}
            await asyncio.gather(*(self._open_anew(key, found.get(key.id)) for key in due.values()))
        for key in tuple(self.keys.values()):
            if key.until <= monotonic():
                self._forget(key)
                if key.is_used:
                    cure = "nobody could open it anew in time; it is opened when that can be asked"
                    _log.error("data_key_over", key=key.id, cure=cure)

    async def _open_anew(self, key: DataKey, kept: KeptKey | None) -> None:
        if kept is None:
            self._forget(key)  # nobody keeps it any more
            return
        with suppress(UnavailableError):
            try:
                await self._open(kept)
                key.until, key.is_used = self._until(), False
            except KeyNotOpenedError as error:
                self._forget(key)
                _log.error("data_key_taken_away", key=key.id, sealed_by=kept.sealed_by, error=str(error))

    def _forget(self, key: DataKey) -> None:
        if self.keys.pop(key.id, None) is not None:
            for hearer in self.hearers:
                hearer()

    async def _open(self, kept: KeptKey) -> bytes:
        try:
            secret = await self._encryption.open(kept.sealed, kept.sealed_by, about(kept))
        except KeyNotOpenedError:
            self.unopened.add(kept.id)
            raise
        self.unopened.discard(kept.id)
        return secret

    @property
    def _lasts_s(self) -> float:
        lasts = self._encryption.lasts
        return float("inf") if lasts is None else lasts.total_seconds()

    def _until(self) -> float:
        return monotonic() + self._lasts_s


def about(kept: KeptKey) -> str:
    """Return what a key is sealed for."""
    return f"{kept.purpose}/{kept.id}"
