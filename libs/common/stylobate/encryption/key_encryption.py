"""What keys are sealed with before they are stored: the port, and keys of this process, out of secrets."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stylobate.encryption.box import SealedInvalidError, open_box, seal_box

NOT_THE_KEY = "is not what the data keys in the database are sealed with; while it is exchanged, name the one before as …_BEFORE"


class KeyNotOpenedError(Exception):
    """What was sealed cannot be opened here: with another key, or it was changed. Its text, where there is one, says why."""


class SealedKey(NamedTuple):
    """A key as it is stored."""

    data: bytes
    by: str
    """The id of what sealed it."""


class KeyEncryption(Protocol):
    """Seals and opens keys, never data. A service such as Vault Transit can stand behind it, so it may take a while and fail.

    Both methods raise KeyEncryptionUnavailableError while what is behind it does not answer.
    """

    @property
    def id(self) -> str:
        """What is sealed now is sealed with this, as far as is known; what :meth:`seal` says counts."""

    @property
    def lasts(self) -> timedelta | None:
        """For how long what was opened is used before it is opened anew; None: without end."""

    async def seal(self, data: bytes, about: str) -> SealedKey:
        """Return the data sealed, for opening with the same ``about`` alone."""

    async def open(self, sealed: bytes, sealed_by: str, about: str) -> bytes:
        """Return what was sealed. Raises KeyNotOpenedError."""


class SecretKeyEncryption:
    """AES-256-GCM (NIST SP 800-38D) with keys that secrets are the input of (HKDF-SHA256, RFC 5869).

    :param secret: of the key that seals. :param former: others that may have sealed what is opened; empty ones are none.
    :param purpose: what is sealed; the same secret makes other keys for other purposes.
    """

    def __init__(self, secret: str, former: Sequence[str] = (), *, purpose: str) -> None:
        self._purpose = purpose
        self._keys: dict[str, AESGCM] = {}
        self.use(secret, former)

    def use(self, secret: str, former: Sequence[str] = ()) -> None:
        """Seal with another secret from now on. What those before it have sealed is opened as it was."""
        self._id, self._key = _key(secret, self._purpose)
        self._keys |= dict(_key(text, self._purpose) for text in (*former, secret) if text)

    @property
    def id(self) -> str:
        """See the port."""
        return self._id

    @property
    def lasts(self) -> None:
        """See the port."""
        return

    async def seal(self, data: bytes, about: str) -> SealedKey:
        """See the port."""
        return SealedKey(seal_box(self._key, data, about.encode()), self._id)

    async def open(self, sealed: bytes, sealed_by: str, about: str) -> bytes:
        """See the port."""
        key = self._keys.get(sealed_by)
        if key is None:
            raise KeyNotOpenedError
        try:
            return open_box(key, sealed, about.encode())
        except SealedInvalidError:
            raise KeyNotOpenedError from None


def _key(secret: str, purpose: str) -> tuple[str, AESGCM]:
    derive = HKDF(algorithm=SHA256(), length=32, salt=f"stylobate.{purpose}".encode(), info=b"aes-256-gcm v1").derive
    key = derive(secret.encode())
    return hashlib.sha256(b"id\0" + key).hexdigest()[:16], AESGCM(key)
