"""AES-256-GCM (NIST SP 800-38D) with a random nonce that stands before the ciphertext: ``nonce (12 octets), ciphertext, tag``.

A key may seal 2^32 values that way; who seals without an end has to exchange it, see :class:`~stylobate.encryption.DataKeys`.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class SealedInvalidError(Exception):
    """It cannot be opened: it was changed, stands where it does not belong, or its key is gone. Never leaves a service."""


def seal_box(key: AESGCM, data: bytes, about: bytes) -> bytes:
    """Return the data sealed, to be opened for the same ``about`` alone."""
    nonce = os.urandom(_NONCE)
    return nonce + key.encrypt(nonce, data, about)


def open_box(key: AESGCM, sealed: bytes, about: bytes) -> bytes:
    """Return what was sealed. Raises SealedInvalidError."""
    try:
        return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
    except (InvalidTag, ValueError):
        raise SealedInvalidError("it was changed, or stands where it does not belong") from None
