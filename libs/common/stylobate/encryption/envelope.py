"""What a sealed value looks like: ``sealed.1.<key id>.<nonce, ciphertext, tag in base64url>``; AES-256-GCM (NIST SP 800-38D)."""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64Error

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORM = "sealed.1."
_NONCE = 12


class SealedInvalidError(Exception):
    """It cannot be opened: it was changed, stands where it does not belong, or its key is gone. Never leaves a service."""


def is_sealed(text: str) -> bool:
    """Return whether the text has the form of a sealed value."""
    return text.startswith(_FORM)


def seal(key_id: str, key: AESGCM, value: bytes, about: bytes) -> str:
    """Return the value sealed, to be opened for the same ``about`` alone.

    The nonce is random: a key is exchanged long before two of its values could share one (see :class:`DataKeys`).
    """
    nonce = os.urandom(_NONCE)
    return f"{_FORM}{key_id}.{urlsafe_b64encode(nonce + key.encrypt(nonce, value, about)).decode()}"


def key_id_of(text: str) -> str:
    """Return which key sealed it. Raises SealedInvalidError."""
    key_id, dot, _ = text[len(_FORM) :].partition(".")
    if not is_sealed(text) or not dot or not key_id:
        raise SealedInvalidError("it has not the form of a sealed value")
    return key_id


def unseal(key: AESGCM, text: str, about: bytes) -> bytes:
    """Return the value. Raises SealedInvalidError."""
    try:
        sealed = urlsafe_b64decode(text[text.rindex(".") + 1 :])
        return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
    except (InvalidTag, ValueError, NotBase64Error):
        raise SealedInvalidError("it was changed, or stands where it does not belong") from None
