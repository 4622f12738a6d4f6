"""API keys as text: ``stylo_<environment>_<id>_<secret><checksum>``.

The id is the key's UUID without dashes; the secret 256 random bits and the checksum a CRC-32 of all before it, both in base 62: a
double click selects the whole, and a key that was mistyped or cut is refused without a question to anyone. Nothing but the
SHA-256 of the secret is kept or asked with.
"""

import hashlib
import re
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from stylobate.errors import PermissionDeniedError, TokenExpiredError, TokenInvalidError, TokenRevokedError
from stylobate.identity.principal import Principal

PREFIX = "stylo_"
SECRET_BYTES = 32
_LABELS = {"development": "dev", "staging": "staging", "production": "prod"}
_FORM = re.compile(r"(stylo_(dev|staging|prod)_([0-9a-f]{32})_)([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS, _CHECKSUM_DIGITS = 43, 6


class ApiKeyInvalidError(TokenInvalidError):
    """An API key that is mistyped, cut, of another environment, or unknown."""

    reason = "API_KEY_INVALID"
    default_detail = "The API key is not valid."
    cure = "Send the whole key, as it was shown when it was made, once: as `X-API-Key`, or as bearer token."


class ApiKeyExpiredError(TokenExpiredError):
    """An API key past its time, or past the overlap after it was rotated."""

    reason = "API_KEY_EXPIRED"
    default_detail = "The API key has expired."
    cure = "Make another one, or use the one that it was exchanged for."


class ApiKeyRevokedError(TokenRevokedError):
    """An API key that was revoked."""

    reason = "API_KEY_REVOKED"
    default_detail = "The API key was revoked."
    cure = "Make another one."


class ApiKeyPlaceError(PermissionDeniedError):
    """An API key that is sent from an address outside its networks."""

    reason = "API_KEY_PLACE_REFUSED"
    default_detail = "The API key is not taken from this address."
    cure = "Send it from one of the networks in its `allowed_cidrs`, or make one for this network."


class ApiKeyNotEnoughError(PermissionDeniedError):
    """What takes an access token, asked for with an API key: keys, accounts and sessions are not a key's to manage."""

    reason = "API_KEY_NOT_ENOUGH"
    default_detail = "This takes the access token of a person; an API key is not enough."
    cure = "Log in and send the access token."


def refuse_key(principal: Principal) -> None:
    """Raise ApiKeyNotEnoughError where a key asks, or a token that was made for one."""
    if principal.is_key:
        raise ApiKeyNotEnoughError


class ApiKeyText(NamedTuple):
    """What stands in a key."""

    id: str
    """A UUID in its usual form."""
    secret_hash: bytes
    """SHA-256 of the secret's text."""


def is_api_key(token: str) -> bool:
    """Return whether a credential is meant as an API key. No access token begins like one."""
    return token.startswith(PREFIX)


def the_credential(authorization: str | bytes | None, key: str | bytes) -> str:
    """Return a key that came under its own name as what ``authorization`` says. Raises ApiKeyInvalidError.

    Of two credentials nobody may choose which one counts, and no token is taken for a key.
    """
    if authorization:
        raise ApiKeyInvalidError("An API key and an authorization came together; send one of them.")
    if not isinstance(key, str) or not is_api_key(key):
        raise ApiKeyInvalidError
    return f"Bearer {key}"


def read_api_key(text: str, environment: str = "") -> ApiKeyText:
    """Return what stands in a key.

    :param environment: ``development``, ``staging`` or ``production``, which the key must be for; empty: any.
    :raises ApiKeyInvalidError: the form, the checksum or the environment is wrong.
    """
    match = _FORM.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_DIGITS]) != match[5]:
        raise ApiKeyInvalidError
    if environment and match[2] != _LABELS[environment]:
        raise ApiKeyInvalidError("The API key is for another environment.")
    return ApiKeyText(str(UUID(match[3])), _hash(match[4]))


def prefix_of(environment: str, key_id: str) -> str:
    """Return how a key begins: everything before the secret."""
    return f"{PREFIX}{_LABELS[environment]}_{UUID(key_id).hex}_"


def write_api_key(environment: str, key_id: str, secret: bytes) -> tuple[str, bytes]:
    """Return the text of a key, and what is kept of it.

    :param secret: :data:`SECRET_BYTES` random ones.
    """
    digits = _base62(int.from_bytes(secret, "big"), _SECRET_DIGITS)
    text = prefix_of(environment, key_id) + digits
    return text + _checksum(text), _hash(digits)


def _hash(digits: str) -> bytes:
    return hashlib.sha256(digits.encode()).digest()  # 256 random bits need no slow hash


def _checksum(text: str) -> str:
    return _base62(crc32(text.encode()), _CHECKSUM_DIGITS)


def _base62(number: int, digits: int) -> str:
    found = []
    for _ in range(digits):
        number, digit = divmod(number, 62)
        found.append(_DIGITS[digit])
    return "".join(reversed(found))
