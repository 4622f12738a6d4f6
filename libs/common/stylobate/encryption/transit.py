"""Keys that Vault's Transit engine seals and opens: the key-encryption key never leaves Vault."""

import asyncio
import random
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64Error
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple, Self

from stylobate.batching import Batcher
from stylobate.config import ConfigError
from stylobate.encryption.key_encryption import KeyNotOpenedError, SealedKey
from stylobate.errors import KeyEncryptionUnavailableError
from stylobate.health import Health, Status
from stylobate.stopping import goes_on
from stylobate.vault.errors import VaultDeniedError, VaultError, VaultRefusedError
from stylobate.vault.manager import VaultManager

_SEALED_BY = re.compile(r"transit:(?P<mount>[^:]+)/(?P<key>[A-Za-z0-9_.-]+):v\d+")
_CIPHERTEXT = re.compile(rb"vault:v(\d+):.+", re.DOTALL)
_KINDS = ("aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305")
"""Those that bind what they seal to what it is for (associated data)."""
_MOST = 100
_LOOK_EVERY_S, _LOOK_SOON_S = 10.0, 2.0


class _Sealed(NamedTuple):
    data: bytes
    key: str
    about: str


class TransitKeyEncryption:
    """The port :class:`stylobate.encryption.KeyEncryption`, on a key of Transit. What is asked for together leaves together.

    Looks for the newest version of the key from time to time: by that others are known to be former ones.

    :param key: what seals; empty: nothing is sealed, and what such keys have sealed is opened all the same.
    :param purpose: what is sealed; what is sealed for one is not opened for another.
    """

    def __init__(self, vault: VaultManager, key: str, *, mount: str, purpose: str, lasts: timedelta) -> None:
        self._vault = vault
        self._key = key
        self._mount = mount
        self._purpose = purpose
        self._lasts = lasts
        self._version = 0
        self._problem = ""
        self._opening: Batcher[_Sealed, bytes] = Batcher(self._open_all, max_size=_MOST)

    @classmethod
    @asynccontextmanager
    async def open_for(cls, vault: VaultManager, key: str, *, mount: str, purpose: str, lasts: timedelta) -> AsyncIterator[Self]:
        """Give one for as long as the block. Nothing is asked yet."""
        made = cls(vault, key, mount=mount, purpose=purpose, lasts=lasts)
        async with made._opening:
            yield made

    @staticmethod
    def has_sealed(sealed_by: str) -> bool:
        """Return whether a key of Transit has sealed it."""
        return sealed_by.startswith("transit:")

    @property
    def place(self) -> str:
        """For people: the key and where it is."""
        return f"{self._mount}/{self._key} at {self._vault.options.address}"

    @property
    def id(self) -> str:
        """See the port."""
        return self._id(self._version)

    @property
    def lasts(self) -> timedelta:
        """See the port."""
        return self._lasts

    async def seal(self, data: bytes, about: str) -> SealedKey:
        """See the port."""
        path = f"{self._mount}/encrypt/{self._key}"
        body = {"plaintext": _text(data), "associated_data": _text(self._about(about))}
        try:
            answer = await self._vault.ask(lambda client: client.write("seal", path, body))
            sealed = str(answer["ciphertext"]).encode()
            version = _version_of(sealed)
        except (VaultError, KeyError, ValueError) as error:
            self._problem = str(error)
            raise KeyEncryptionUnavailableError from error
        self._version, self._problem = max(self._version, version), ""
        return SealedKey(sealed, self._id(version))

    async def open(self, sealed: bytes, sealed_by: str, about: str) -> bytes:
        """See the port."""
        found = _SEALED_BY.fullmatch(sealed_by)
        if found is None or found["mount"] != self._mount or _CIPHERTEXT.fullmatch(sealed) is None:
            raise KeyNotOpenedError(f"{sealed_by} is not one of {self._mount}, where STYLOBATE_…_TRANSIT_MOUNT says its keys are")
        return await self._opening.submit(_Sealed(sealed, found["key"], about))

    # which version is the newest

    async def look(self) -> None:
        """Look at the key. Raises VaultError while it cannot be asked, ConfigError for a key that does not do."""
        found = await self._vault.ask(lambda client: client.read(f"{self._mount}/keys/{self._key}"))
        if found is None:
            raise ConfigError([f"{self.place}: there is no such key; `bao write -f {self._mount}/keys/{self._key}` makes it"])
        kind = found.get("type")
        if kind not in _KINDS or found.get("derived"):
            raise ConfigError([f"{self.place}: its type must be one of {', '.join(_KINDS)}, and not derived"])
        self._version = int(found["latest_version"])

    async def keep(self) -> None:
        """Look from time to time, forever."""
        while goes_on():
            pause_s = _LOOK_SOON_S if self._problem else _LOOK_EVERY_S
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.0))  # noqa: S311  processes look at different times
            try:
                await self.look()
            except (VaultError, ConfigError) as error:
                self._problem = str(error)
            else:
                self._problem = ""

    async def health(self) -> Health:
        """Degraded while the key cannot be used; what is open is used on."""
        metrics = {"version": float(self._version)}
        return Health(Status.DEGRADED if self._problem else Status.HEALTHY, self._problem, metrics)

    # opening

    async def _open_all(self, batch: list[_Sealed]) -> Sequence[bytes | Exception]:
        answers: dict[_Sealed, bytes | Exception] = {}
        for key in {one.key for one in batch}:
            mine = [one for one in batch if one.key == key]
            answers |= zip(mine, await self._open_by(key, mine), strict=True)
        return [answers[one] for one in batch]

    async def _open_by(self, key: str, batch: list[_Sealed]) -> Sequence[bytes | Exception]:
        path = f"{self._mount}/decrypt/{key}"
        items = [{"ciphertext": one.data.decode(), "associated_data": _text(self._about(one.about))} for one in batch]
        body = {"batch_input": items, "partial_failure_response_code": 200}
        try:
            answer = await self._vault.ask(lambda client: client.write("open", path, body))
            self._problem = ""
            return [_opened(found) for found in answer["batch_results"]]
        except (VaultRefusedError, VaultDeniedError) as error:
            return [KeyNotOpenedError(str(error)) for _ in batch]
        except (VaultError, KeyError, TypeError, AttributeError) as error:
            self._problem = str(error)
            return [KeyEncryptionUnavailableError() for _ in batch]

    def _about(self, about: str) -> bytes:
        return f"stylobate\0{self._purpose}\0{about}".encode()

    def _id(self, version: int) -> str:
        return f"transit:{self._mount}/{self._key}:v{version}"


def _opened(found: dict[str, Any]) -> bytes | Exception:
    try:
        return KeyNotOpenedError(str(found["error"])) if found.get("error") else b64decode(found["plaintext"])
    except (KeyError, NotBase64Error) as error:
        return KeyNotOpenedError(f"what Vault said is not understood ({type(error).__name__})")


def _version_of(sealed: bytes) -> int:
    found = _CIPHERTEXT.fullmatch(sealed)
    if found is None:
        raise ValueError("what Vault said is not understood")
    return int(found[1])


def _text(data: bytes) -> str:
    return b64encode(data).decode()
