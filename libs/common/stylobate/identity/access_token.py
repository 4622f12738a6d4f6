"""Access tokens (RFC 9068): what a valid one looks like and the principal that it names.

Signed by auth with Ed25519. Header ``typ: at+jwt`` and ``kid`` (RFC 7638 thumbprint); claims ``iss``, ``aud``, ``sub``,
``tenant``, ``sid``, ``jti``, ``iat``, ``exp``, ``roles`` and ``scope``.
"""

from collections.abc import Mapping
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stylobate.errors import TokenExpiredError, TokenInvalidError
from stylobate.identity.principal import Principal, PrincipalKind

ISSUER = "stylobate"
AUDIENCE = "stylobate"
TYPE = "at+jwt"

_SKEW_S = 30
_MAX_TOKEN = 8192
_SERVICE_PREFIX = "service:"
_OPTIONS: Any = {
    "verify_exp": False,  # by our own clock, below
    "verify_iat": False,
    "verify_nbf": False,
    "require": ["iss", "aud", "sub", "tenant", "sid", "jti", "iat", "exp"],
}

KeySet = Mapping[str, Ed25519PublicKey]
"""Public keys by key id."""


def parse_jwks(jwks: bytes) -> dict[str, Ed25519PublicKey]:
    """Return the Ed25519 keys of a JWK Set (RFC 7517, RFC 8037) by key id; keys of other kinds are left out.

    :raises ValueError: not a JWK Set.
    """
    document = orjson.loads(jwks)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWK Set")  # noqa: TRY004  a wrong document, whatever its type
    keys: dict[str, Ed25519PublicKey] = {}
    for entry in document["keys"]:
        if not isinstance(entry, dict) or entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
            continue
        try:
            key = jwt.PyJWK(entry, algorithm="EdDSA").key
        except jwt.PyJWTError as error:
            raise ValueError("a key of the set cannot be read") from error
        if isinstance(key, Ed25519PublicKey) and isinstance(entry.get("kid"), str):
            keys[entry["kid"]] = key
    return keys


def key_id_of(token: str) -> str:
    """Return the key id that the token claims to be signed with.

    :raises TokenInvalidError: malformed, or not an EdDSA access token by its header.
    """
    if len(token) > _MAX_TOKEN or not token.isascii():
        raise TokenInvalidError
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError) as error:
        raise TokenInvalidError from error
    if header.get("alg") != "EdDSA" or header.get("typ") != TYPE or not isinstance(header.get("kid"), str):
        raise TokenInvalidError
    return str(header["kid"])


def verify_access_token(token: str, key: Ed25519PublicKey, now: float) -> Principal:
    """Check signature and claims (about 200 µs) and return who the token names.

    :param now: Unix seconds.
    :raises TokenInvalidError, TokenExpiredError: it does not hold; revocation is not looked at here.
    """
    try:
        claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER, options=_OPTIONS)
        principal = _principal_of(claims)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenInvalidError from error
    if principal.id.startswith(_SERVICE_PREFIX) or principal.issued_at > now + _SKEW_S:
        raise TokenInvalidError
    if not now < principal.expires_at:
        raise TokenExpiredError
    return principal


def _principal_of(claims: Mapping[str, Any]) -> Principal:
    names = [claims[name] for name in ("sub", "tenant", "sid", "jti")]
    roles = claims.get("roles", [])
    if not all(isinstance(name, str) and name for name in names) or not isinstance(roles, list):
        raise ValueError("a claim is of the wrong type")
    subject, tenant, session, token_id = names
    return Principal(
        kind=PrincipalKind.USER,
        id=subject,
        tenant=tenant,
        session=session,
        token_id=token_id,
        roles=tuple(str(role) for role in roles),
        scopes=frozenset(str(claims.get("scope", "")).split()),
        issued_at=float(claims["iat"]),
        expires_at=float(claims["exp"]),
    )
