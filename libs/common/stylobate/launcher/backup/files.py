"""The files of a backup: compressed, encrypted where there is a key, with a checksum.

An encrypted file is ``STYLOB1`` and a line feed, 16 octets of salt, and blocks: four octets of length (big endian), then
AES-256-GCM of up to 256 KiB with its tag. The key of a file is derived from the backup's key, the salt and the file's name
(HKDF-SHA256), so that no file can stand in for another one. The nonce counts the blocks and marks the last one, so that none
can be left out, added or moved.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"STYLOB1\n"
_SALT = 16
_BLOCK = 256 * 1024
_TAG = 16
_GZIP = 31
_READ = 1024 * 1024


class DamagedError(Exception):
    """A file is not what it was when it was written; the text says how."""


def derived(key: str, salt: bytes, purpose: str) -> bytes:
    """Return 32 octets for one purpose."""
    return HKDF(hashes.SHA256(), 32, salt, f"stylobate backup {purpose}".encode()).derive(key.encode())


class Writer:
    """Writes one file. Not for several tasks at once.

    :param key: the backup's key; empty: it is not encrypted. :param name: what its key is derived for; empty: the file's name.
    """

    def __init__(self, path: Path, key: str = "", name: str = "") -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._sum = hashlib.sha256()
        self._compressed = zlib.compressobj(1, wbits=_GZIP)
        self._held = bytearray()
        self._blocks = 0
        self.written = 0
        """Octets in the file."""
        self._cipher: AESGCM | None = None
        if key:
            salt = os.urandom(_SALT)
            self._cipher = AESGCM(derived(key, salt, name or path.name))
            self._put(MAGIC + salt)

    async def write(self, data: bytes) -> None:
        """Take octets."""
        self._take(self._compressed.compress(data))

    def close(self) -> str:
        """Write what is left, make sure that it lies on the disk, and return the SHA-256 of the file in hexadecimal digits."""
        self._take(self._compressed.flush())
        if self._cipher is not None:
            self._seal(bytes(self._held), is_last=True)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._sum.hexdigest()

    def _take(self, data: bytes) -> None:
        if self._cipher is None:
            self._put(data)
            return
        self._held += data
        while len(self._held) > _BLOCK:
            self._seal(bytes(self._held[:_BLOCK]), is_last=False)
            del self._held[:_BLOCK]

    def _seal(self, block: bytes, *, is_last: bool) -> None:
        assert self._cipher is not None  # noqa: S101  for the type checker
        sealed = self._cipher.encrypt(_nonce(self._blocks, is_last=is_last), block, None)
        self._blocks += 1
        self._put(len(sealed).to_bytes(4, "big") + sealed)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._sum.update(data)
        self.written += len(data)


def checked(path: Path) -> str:
    """Return the SHA-256 of a file. Raises DamagedError where it is missing."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from None


async def content(path: Path, key: str = "", name: str = "") -> AsyncIterator[bytes]:
    """Yield what was written, piece by piece. Raises DamagedError."""
    with path.open("rb") as file:
        if not key:
            with gzip.open(file) as plain:
                while data := plain.read(_READ):
                    yield data
            return
        unpacked = zlib.decompressobj(wbits=_GZIP)
        for block in _opened(file, path.name, key, name or path.name):
            if data := unpacked.decompress(block):
                yield data
        yield unpacked.flush()


def _opened(file: IO[bytes], name: str, key: str, about: str) -> Iterator[bytes]:
    """Yield the blocks of an encrypted file, each once it has been found whole."""
    if file.read(len(MAGIC)) != MAGIC:
        raise DamagedError(f"{name} is not encrypted, or not a file of a backup")
    cipher, number, is_last = AESGCM(derived(key, file.read(_SALT), about)), 0, False
    head = file.read(4)
    while head:
        sealed = file.read(int.from_bytes(head, "big"))
        head = file.read(4)
        is_last = not head
        try:
            yield cipher.decrypt(_nonce(number, is_last=is_last), sealed, None)
        except (InvalidTag, ValueError, OverflowError):
            raise DamagedError(f"{name} cannot be opened: it was altered, cut off, or encrypted with another key") from None
        number += 1
    if not is_last:
        raise DamagedError(f"{name} is cut off")


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((is_last,))
