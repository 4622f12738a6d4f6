"""The keys that values are sealed with: one for each purpose at a time, kept in memory once they were opened."""

import asyncio
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import monotonic

from stylobate.encryption.box import SealedInvalidError
from stylobate.encryption.envelope import key_id_of, seal, unseal
from stylobate.encryption.key_encryption import KeyEncryption, KeyNotOpenedError
from stylobate.encryption.opened_keys import DataKey, OpenedKeys, about
from stylobate.encryption.port import DataKeyStore, KeptKey
from stylobate.errors import UnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

LOOK = timedelta(seconds=2)
"""How old what a process knows of the newest key may be: so long after another was made, all seal with that one."""
_KEEP_EVERY_S = 5.0
_AT_ONCE = 100
MOST_AGE = timedelta(days=90)
MOST_SEALED = 2**28
"""What one process seals with a key. Sixteen of them stay below the 2^32 random nonces that NIST SP 800-38D allows a key."""
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class DataKeyStanding:
    """How a key stands, for operators."""

    id: str
    purpose: str
    generation: int
    created_at: datetime
    sealed_by: str
    is_current: bool
    """Whether it seals; the others only open."""
    is_foreign: bool
    """Whether it is sealed by another key-encryption key than the one in use."""
    is_replaced: bool
    """Whether everything that it had sealed was sealed with a later one."""


class DataKeys:
    """Seals and opens values. What has been opened once is at hand, whatever is away: see :class:`OpenedKeys`.

    :param encryption: what keys are sealed with before they are kept.
    """

    def __init__(
        self,
        store: DataKeyStore,
        encryption: KeyEncryption,
        *,
        look: timedelta = LOOK,
        most_age: timedelta = MOST_AGE,
        most_sealed: int = MOST_SEALED,
    ) -> None:
        self._store = store
        self._encryption = encryption
        self._look_s = look.total_seconds()
        self._most_age = most_age
        self._most_sealed = most_sealed
        self._opened = OpenedKeys(store, encryption)
        self._keys = self._opened.keys
        self._current: dict[str, tuple[DataKey, float]] = {}
        """By purpose: the newest one, and until when (monotonic) that needs no look."""
        self._turn = asyncio.Lock()

    async def current(self, purpose: str) -> DataKey:
        """Return the key that seals now; the first one is made.

        :raises UnavailableError: it is not at hand, and cannot be read. :raises KeyNotOpenedError: it cannot be opened here.
        """
        if (known := self._usable(purpose)) is not None:
            return known
        async with self._turn:  # while this one waited, another may have looked
            return self._usable(purpose) or await self._look(purpose)

    async def health(self) -> Health:
        """Say whether a key was needed that could not be opened here."""
        metrics = {"data_keys": float(len(self._keys))}
        if self.unopened:
            ids = ", ".join(sorted(self.unopened))
            return Health(Status.DEGRADED, f"this process lacks the key-encryption key of data keys: {ids}", metrics)
        return Health(metrics=metrics)

    @property
    def unopened(self) -> Collection[str]:
        """Ids of keys that were needed and could not be opened here."""
        return self._opened.unopened

    def at_hand(self, purpose: str) -> DataKey | None:
        """Return the key that sealed last, for who cannot wait for a look; None: there was none."""
        known = self._current.get(purpose)
        return known[0] if known is not None and known[0].id in self._keys else None

    async def lasting(self, purpose: str) -> DataKey:
        """Return the one key of a purpose whose key is never exchanged, as that of an index. Raises what :meth:`current` does."""
        async with self._turn:
            newest = await self._store.newest(purpose)
            return await self._make(purpose, None) if newest is None else await self._opened.open(newest)

    def uses(self, key: DataKey) -> bool:
        """Return whether a key is at hand that somebody holds, and note that it is used."""
        key.is_used = True
        return key.id in self._keys

    def on_forgotten(self, hearer: Callable[[], None]) -> None:
        """Have it called when a key is not at hand any more: what it had opened is to be forgotten as well."""
        self._opened.hearers.append(hearer)

    def seal(self, key: DataKey, value: bytes, about: bytes) -> str:
        """Return a value sealed, for opening with the same ``about`` alone."""
        key.sealed += 1
        return seal(key.id, key.cipher, value, about)

    def opened(self, text: str, about: bytes) -> bytes | None:
        """Return what was sealed; None: its key is not at hand, see :meth:`fetch`. Raises SealedInvalidError."""
        if (key := self._keys.get(key_id_of(text))) is None:
            return None
        key.is_used = True
        return unseal(key.cipher, text, about)

    async def fetch(self, texts: Collection[str]) -> None:
        """Have the keys of sealed values at hand, as far as they are kept and can be opened. Raises UnavailableError."""
        await self.by_id({key_id_of(text) for text in texts})

    async def by_id(self, ids: Collection[str]) -> Mapping[str, DataKey]:
        """Return keys by their ids, as far as they are kept and can be opened. Raises UnavailableError."""
        if missing := [id_ for id_ in ids if id_ not in self._keys]:
            await asyncio.gather(*(self._fetch(kept) for kept in await self._store.find(missing)))
        found = {id_: self._keys[id_] for id_ in ids if id_ in self._keys}
        for key in found.values():
            key.is_used = True
        return found

    async def _fetch(self, kept: KeptKey) -> None:
        try:
            await self._opened.open(kept)
        except KeyNotOpenedError as error:
            cure = str(error) or "give this process that key, too"
            _log.error("data_key_not_opened", key=kept.id, sealed_by=kept.sealed_by, cure=cure)

    async def open(self, text: str, about: bytes) -> bytes:
        """Return what was sealed. Raises SealedInvalidError, UnavailableError."""
        found = self.opened(text, about)
        if found is None:
            await self.fetch([text])
            found = self.opened(text, about)
        if found is None:
            raise SealedInvalidError("its key is not kept here, or cannot be opened")
        return found

    async def rotate(self, purpose: str) -> DataKey:
        """Make another generation. Other processes seal with it after :data:`LOOK`."""
        async with self._turn:
            return await self._make(purpose, await self._store.newest(purpose))

    async def begin_anew(self, *purposes: str) -> None:
        """Begin to seal everything with other keys: make one for each purpose, unless what was begun for it is unfinished.

        Returns when all processes seal with the newest ones.
        """
        age_s = 2 * self._look_s  # what a process has at hand for transactions is as old as two looks
        for purpose in purposes:
            kept = [key for key in await self._store.all() if key.purpose == purpose]
            if all(key.is_replaced for key in kept[:-1]):
                await self.rotate(purpose)
                age_s = 0.0
            else:
                age_s = min(age_s, kept[-1].age.total_seconds())
        await asyncio.sleep(2 * self._look_s - age_s)
        for purpose in purposes:
            await self.current(purpose)

    async def finish(self, purpose: str) -> None:
        """Note that everything was sealed with the newest key."""
        await self._store.replaced(purpose, (await self.current(purpose)).generation)

    async def standings(self) -> list[DataKeyStanding]:
        """Return how all keys stand, by purpose and generation."""
        kept = await self._store.all()
        newest = {key.purpose: key.generation for key in kept}  # the last of each is the highest
        return [
            DataKeyStanding(
                key.id,
                key.purpose,
                key.generation,
                key.created_at,
                key.sealed_by,
                is_current=newest[key.purpose] == key.generation,
                is_foreign=key.sealed_by != self._encryption.id,
                is_replaced=key.is_replaced,
            )
            for key in kept
        ]

    async def reseal(self) -> int:
        """Seal anew the keys that another key-encryption key has sealed, and return how many.

        Raises KeyNotOpenedError, UnavailableError; those that could be opened are sealed anew all the same.
        """
        foreign = [kept for kept in await self._store.all() if kept.sealed_by != self._encryption.id]
        faults: list[BaseException] = []
        for first in range(0, len(foreign), _AT_ONCE):
            done = await asyncio.gather(*map(self._reseal, foreign[first : first + _AT_ONCE]), return_exceptions=True)
            faults += [fault for fault in done if fault is not None]
        if faults:
            raise next((fault for fault in faults if not isinstance(fault, KeyNotOpenedError)), faults[0])
        return len(foreign)

    async def keep(self) -> None:
        """Have what was opened opened anew in time, and sealed with the newest version of what seals it, forever.

        For a key-encryption key that is exchanged elsewhere, see :class:`OpenedKeys`.
        """
        sealed_by = ""
        while goes_on():
            if sealed_by != self._encryption.id:
                with suppress(KeyNotOpenedError, UnavailableError):  # what cannot be opened is told where it is needed
                    newest = self._encryption.id
                    if count := await self.reseal():
                        _log.info("data_keys_resealed", count=count, sealed_by=newest)
                    sealed_by = newest
            await asyncio.sleep(min(self._opened.pause_s, _KEEP_EVERY_S))
            await self._opened.open_anew()

    async def _reseal(self, kept: KeptKey) -> None:
        opened = await self._encryption.open(kept.sealed, kept.sealed_by, about(kept))
        sealed = await self._encryption.seal(opened, about(kept))
        await self._store.reseal(kept.id, kept.sealed_by, sealed.data, sealed.by)

    def _usable(self, purpose: str) -> DataKey | None:
        """Return the key that seals, where that needs no look."""
        if (known := self._current.get(purpose)) is None:
            return None
        key, until = known
        return key if monotonic() < until and key.sealed < self._most_sealed and key.id in self._keys else None

    async def _look(self, purpose: str) -> DataKey:
        newest = await self._store.newest(purpose)
        if newest is None or newest.age > self._most_age:
            return await self._make(purpose, newest)
        key = await self._opened.open(newest)
        return self._take(key) if key.sealed < self._most_sealed else await self._make(purpose, newest)

    async def _make(self, purpose: str, newest: KeptKey | None) -> DataKey:
        """Make the generation behind the newest one, or take the one that another process made at the same moment."""
        generation = 1 if newest is None else newest.generation + 1
        id_, secret = secrets.token_hex(6), os.urandom(32)
        kept = KeptKey(id_, purpose, generation, b"", "", datetime.now(UTC), timedelta())
        sealed = await self._encryption.seal(secret, about(kept))
        kept = replace(kept, sealed=sealed.data, sealed_by=sealed.by)
        if await self._store.add(kept):
            _log.info("data_key_made", key=id_, purpose=purpose, generation=generation)
            return self._take(self._opened.put(kept, secret))
        newest = await self._store.newest(purpose)
        if newest is None:
            raise AssertionError("a data key is never removed")
        return self._take(await self._opened.open(newest))

    def _take(self, key: DataKey) -> DataKey:
        self._current[key.purpose] = key, monotonic() + self._look_s
        return key
