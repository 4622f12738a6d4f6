"""Signed tokens in compact form (RFC 7515 §7.1), read strictly: what we sign has one spelling, and no other is taken."""

import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from typing import Any, cast

import jwt
import jwt.algorithms
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADERS = frozenset({"alg", "typ", "kid"})
_LATEST = 253_402_300_799.0
"""The end of the year 9999 (RFC 3339 knows no later one)."""
EDDSA = frozenset({"EdDSA"})
_jws = jwt.PyJWS(algorithms=["EdDSA", "ES256", "PS256", "RS256"])
_jws.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())  # RFC 9864's name of what RFC 8037 calls EdDSA
VerifyingKey = Ed25519PublicKey | RSAPublicKey
"""A public key; its kind says the one algorithm that it verifies."""


def header(token: str, *, longest: int, algorithms: Collection[str]) -> dict[str, Any]:
    """Return a token's header: ``alg``, and ``typ`` and ``kid`` where they stand there, of any type.

    :param longest: characters. :param algorithms: one of which ``alg`` must be.
    :raises ValueError: malformed, in a second spelling (padding, spare bits), of another algorithm, or with a member that
        changes what the rest means (``crit``, ``jwk``, ``b64`` and so on).
    """
    if len(token) > longest or _FORM.fullmatch(token) is None:
        raise ValueError("not a token in compact form")
    first, _, signature = (_decoded(part) for part in token.split("."))
    found = _object(first)
    algorithm = found.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms or not signature:
        raise ValueError("a token of another algorithm")
    if not found.keys() <= _HEADERS:
        raise ValueError("a token of another kind")
    return found


def key_id(token: str, kind: str, *, longest: int, algorithms: Collection[str] = EDDSA) -> str:
    """Return the key id in a token's header.

    :param kind: what ``typ`` must be.
    :raises ValueError: of another kind, and as :func:`header`.
    """
    found = header(token, longest=longest, algorithms=algorithms)
    if found.get("typ") != kind:
        raise ValueError("a token of another kind")
    return text(found, "kid")


def claims(token: str, key: VerifyingKey | EllipticCurvePublicKey, algorithm: str = "") -> dict[str, Any]:
    """Return the claims of a token whose header was read.

    What the header says of the algorithm is held against the key's own, never believed.

    :param algorithm: that the key is for; empty: the one that we sign by with such a key.

    :raises ValueError: not signed by the key, or no JSON object.
    """
    own = algorithm or ("EdDSA" if isinstance(key, Ed25519PublicKey) else "RS256")
    try:
        payload = _jws.decode(token, cast("Any", key), algorithms=[own])
    except jwt.PyJWTError as error:
        raise ValueError("not signed by this key") from error
    return _object(payload)


def unproven(token: str) -> dict[str, Any]:
    """Return what stands in a token whose header was read, for who must know whose key to look for. Raises ValueError."""
    return _object(_decoded(token.split(".")[1]))


def text(found: Mapping[str, Any], name: str) -> str:
    """Return a claim that must be text and not empty. Raises ValueError."""
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing or not text")
    return value


def seconds(found: Mapping[str, Any], name: str) -> float:
    """Return a claim that must be a time in Unix seconds (RFC 7519 §2, NumericDate). Raises ValueError."""
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST or not math.isfinite(value):
        raise ValueError(f"{name} is missing or not a time")
    return float(value)


def check_not_before(found: Mapping[str, Any], now: float, skew_s: float) -> None:
    """Return when the token holds already, as far as ``nbf`` says. Raises ValueError."""
    if "nbf" in found and seconds(found, "nbf") > now + skew_s:
        raise ValueError("not yet")


def _decoded(part: str) -> bytes:
    decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
        raise ValueError("a second spelling of the token")
    return decoded


def _object(data: bytes) -> dict[str, Any]:
    found = orjson.loads(data)  # UTF-8 alone, unlike json.loads
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  a wrong token, whatever its type
    return found
