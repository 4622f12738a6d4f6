"""What a sealed value looks like: ``sealed.1.<key id>.<nonce, ciphertext, tag in base64url>``; AES-256-GCM (NIST SP 800-38D)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64Error

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stylobate.encryption.box import SealedInvalidError, open_box, seal_box

_FORM = "sealed.1."


def is_sealed(text: str) -> bool:
    """Return whether the text has the form of a sealed value."""
    return text.startswith(_FORM)


def sealed_by(key_id: str) -> str:
    """Return how every value begins that a key has sealed."""
    return f"{_FORM}{key_id}."


def seal(key_id: str, key: AESGCM, value: bytes, about: bytes) -> str:
    """Return the value sealed, to be opened for the same ``about`` alone.

    The nonce is random: a key is exchanged long before two of its values could share one (see :class:`DataKeys`).
    """
    return f"{_FORM}{key_id}.{urlsafe_b64encode(seal_box(key, value, about)).decode()}"


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
    except (ValueError, NotBase64Error):
        raise SealedInvalidError("it has not the form of a sealed value") from None
    return open_box(key, sealed, about)
