"""Access tokens (RFC 9068): what a valid one looks like and the principal that it names.

Signed by auth with Ed25519. Header ``typ: at+jwt`` and ``kid`` (RFC 7638 thumbprint); claims ``iss``, ``aud``, ``sub``,
``tenant``, ``sid``, ``jti``, ``iat``, ``exp``, ``roles`` and ``scope``. Times may have fractions.
"""

from collections.abc import Mapping
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stylobate.errors import TokenExpiredError, TokenInvalidError
from stylobate.identity import compact_token
from stylobate.identity.principal import Principal, PrincipalKind

ISSUER = "stylobate"
AUDIENCE = "stylobate"
TYPE = "at+jwt"
CLOCK_SKEW_S = 30.0
"""How far the clocks of two machines may differ."""

_MAX_TOKEN = 8192
_SERVICE_PREFIX = "service:"
_LOW_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""Points of small order without their sign bit: for such a "key" signatures can be made up (RFC 8032 §5.1.7)."""

KeySet = Mapping[str, Ed25519PublicKey]
"""Public keys by key id."""


def parse_jwks(jwks: bytes) -> dict[str, Ed25519PublicKey]:
    """Return the Ed25519 keys of a JWK Set (RFC 7517, RFC 8037) by key id.

    What cannot be used to verify our tokens is left out, as RFC 7517 §5 asks: keys of other kinds, for other uses, and such
    as cannot be read. Of two keys with one id the first counts.

    :raises ValueError: not a JWK Set.
    """
    document = orjson.loads(jwks)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWK Set")  # noqa: TRY004  a wrong document, whatever its type
    keys: dict[str, Ed25519PublicKey] = {}
    for entry in document["keys"]:
        key = _verifying_key(entry)
        if key is not None:
            keys.setdefault(entry["kid"], key)
    return keys


def key_id_of(token: str) -> str:
    """Return the key id that the token claims to be signed with.

    :raises TokenInvalidError: malformed, or not an EdDSA access token by its header.
    """
    try:
        return compact_token.key_id(token, TYPE, longest=_MAX_TOKEN)
    except ValueError as error:
        raise TokenInvalidError from error


def verify_access_token(token: str, key: Ed25519PublicKey, now: float, skew_s: float = CLOCK_SKEW_S) -> Principal:
    """Check signature and claims (about 200 µs) and return who the token names.

    :param token: whose header was read by :func:`key_id_of`.
    :param now: Unix seconds. :param skew_s: how far auth's clock may be ahead.
    :raises TokenInvalidError, TokenExpiredError: it does not hold; revocation is not looked at here.
    """
    try:
        claims = compact_token.claims(token, key)
        principal = _principal_of(claims)
        compact_token.check_not_before(claims, now, skew_s)
    except ValueError as error:
        raise TokenInvalidError from error
    if principal.id.startswith(_SERVICE_PREFIX) or principal.issued_at > now + skew_s:
        raise TokenInvalidError
    if not now < principal.expires_at:
        raise TokenExpiredError
    return principal


def _principal_of(claims: Mapping[str, Any]) -> Principal:
    if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        raise ValueError("of another issuer or for another audience")
    roles, scope = claims.get("roles", []), claims.get("scope", "")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles) or not isinstance(scope, str):
        raise ValueError("a claim is of the wrong type")
    return Principal(
        kind=PrincipalKind.USER,
        id=compact_token.text(claims, "sub"),
        tenant=compact_token.text(claims, "tenant"),
        session=compact_token.text(claims, "sid"),
        token_id=compact_token.text(claims, "jti"),
        roles=tuple(roles),
        scopes=frozenset(scope.split()),
        issued_at=compact_token.seconds(claims, "iat"),
        expires_at=compact_token.seconds(claims, "exp"),
    )


def _verifying_key(entry: Any) -> Ed25519PublicKey | None:
    """Return the key of an entry; None for an invalid one or one not meant for verifying (RFC 7517 §4.2 to §4.4)."""
    if not isinstance(entry, dict) or entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", "EdDSA") not in {"EdDSA", "Ed25519"}:
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations or not isinstance(entry.get("kid"), str):
        return None
    try:
        key = jwt.PyJWK(entry, algorithm="EdDSA").key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if not isinstance(key, Ed25519PublicKey):
        return None
    raw = key.public_bytes_raw()
    return None if raw[:31] + bytes([raw[31] & 0x7F]) in _LOW_ORDER else key
