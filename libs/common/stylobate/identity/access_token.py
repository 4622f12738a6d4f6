"""Access tokens (RFC 9068): what a valid one looks like and the principal that it names.

Signed by auth with Ed25519, or RSA where that is set. Header ``typ: at+jwt`` and ``kid`` (RFC 7638 thumbprint); claims ``iss``,
``aud``, ``sub``, ``tenant``, ``jti``, ``iat``, ``exp``, ``roles``, ``scope`` and ``client_id``. One of a session has ``sid``,
``auth_time``, ``acr`` and ``amr``; one of a client that acts for itself, whose ``sub`` is its ``client_id``, has ``key``: the id
of the API key that it was issued for. Times may have fractions.
"""

from collections.abc import Collection, Mapping
from sys import intern
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from stylobate.errors import TokenExpiredError, TokenInvalidError
from stylobate.identity import compact_token
from stylobate.identity.compact_token import VerifyingKey
from stylobate.identity.principal import Principal, PrincipalKind
from stylobate.identity.public_key import is_weak

ISSUER = "stylobate"
"""Of a platform that nobody told its address, and of every token before that."""
AUDIENCE = "stylobate"
TYPE = "at+jwt"
CLOCK_SKEW_S = 30.0
"""How far the clocks of two machines may differ."""

_MAX_TOKEN = 8192
_ALGORITHMS = frozenset({"EdDSA", "RS256"})
_SERVICE_PREFIX = "service:"
_NO_SCOPES: frozenset[str] = frozenset()


class IssuerUnknownError(TokenInvalidError):
    """A token that a key of ours signed, of an issuer that is not known here. Auth may have been given another address."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        super().__init__()


KeySet = Mapping[str, VerifyingKey]
"""Public keys by key id."""


def parse_jwks(jwks: bytes) -> dict[str, VerifyingKey]:
    """Return the Ed25519 and RSA keys of a JWK Set (RFC 7517, RFC 8037) by key id.

    What cannot be used to verify our tokens is left out, as RFC 7517 §5 asks: keys of other kinds, for other uses, and such
    as cannot be read. Of two keys with one id the first counts.

    :raises ValueError: not a JWK Set.
    """
    document = orjson.loads(jwks)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWK Set")  # noqa: TRY004  a wrong document, whatever its type
    keys: dict[str, VerifyingKey] = {}
    for entry in document["keys"]:
        key = _verifying_key(entry)
        if key is not None:
            keys.setdefault(entry["kid"], key)
    return keys


def key_id_of(token: str) -> str:
    """Return the key id that the token claims to be signed with.

    :raises TokenInvalidError: malformed, or by its header no access token of ours.
    """
    try:
        return compact_token.key_id(token, TYPE, longest=_MAX_TOKEN, algorithms=_ALGORITHMS)
    except ValueError as error:
        raise TokenInvalidError from error


def verify_access_token(
    token: str, key: VerifyingKey, now: float, skew_s: float = CLOCK_SKEW_S, issuers: Collection[str] = (ISSUER,)
) -> Principal:
    """Check signature and claims (about 200 µs) and return who the token names.

    :param token: whose header was read by :func:`key_id_of`.
    :param now: Unix seconds. :param skew_s: how far auth's clock may be ahead.
    :param issuers: whose tokens are taken.
    :raises TokenInvalidError, TokenExpiredError: it does not hold; revocation is not looked at here.
    """
    try:
        claims = compact_token.claims(token, key)
        principal = _principal_of(claims, issuers)
        compact_token.check_not_before(claims, now, skew_s)
    except ValueError as error:
        raise TokenInvalidError from error
    if principal.id.startswith(_SERVICE_PREFIX) or principal.issued_at > now + skew_s:
        raise TokenInvalidError
    if not now < principal.expires_at:
        raise TokenExpiredError
    return principal


def _principal_of(claims: Mapping[str, Any], issuers: Collection[str]) -> Principal:
    issuer = compact_token.text(claims, "iss")
    if issuer not in issuers:
        raise IssuerUnknownError(issuer)
    if claims.get("aud") != AUDIENCE:
        raise ValueError("for another audience")
    roles, scope = claims.get("roles", []), claims.get("scope", "")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles) or not isinstance(scope, str):
        raise ValueError("a claim is of the wrong type")
    subject = compact_token.text(claims, "sub")
    is_client = claims.get("client_id") == subject
    if is_client and ("sid" in claims or not scope.strip()):
        raise ValueError("a client acts in no session, and for what its key may")
    return Principal(
        kind=PrincipalKind.USER,
        id=subject,
        tenant=intern(
            compact_token.text(claims, "tenant")
        ),  # what many have alike is kept once: a principal lives with its socket
        session="" if is_client else compact_token.text(claims, "sid"),
        is_key=is_client,
        key_id=compact_token.text(claims, "key") if is_client else "",
        token_id=compact_token.text(claims, "jti"),
        roles=tuple(map(intern, roles)),
        scopes=frozenset(scope.split()) or _NO_SCOPES,
        issued_at=compact_token.seconds(claims, "iat"),
        expires_at=compact_token.seconds(claims, "exp"),
    )


def _verifying_key(entry: Any) -> VerifyingKey | None:
    """Return the key of an entry; None for an invalid one or one not meant for verifying (RFC 7517 §4.2 to §4.4)."""
    algorithm = _algorithm_of(entry) if isinstance(entry, dict) and isinstance(entry.get("kid"), str) else None
    if algorithm is None or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if isinstance(key, Ed25519PublicKey | RSAPublicKey) and not is_weak(key) else None


def _algorithm_of(entry: Mapping[str, Any]) -> str | None:
    """Return the one algorithm that a key is for; None: none of ours."""
    if entry.get("kty") == "OKP" and entry.get("crv") == "Ed25519" and entry.get("alg", "EdDSA") in ("EdDSA", "Ed25519"):
        return "EdDSA"
    return "RS256" if entry.get("kty") == "RSA" and entry.get("alg", "RS256") == "RS256" else None
