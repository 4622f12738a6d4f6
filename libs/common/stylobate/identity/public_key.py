"""Public keys of others, as JSON Web Keys (RFC 7517): read strictly, since whoever is believed by one is somebody."""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt.algorithms
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

AnyPublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

ALGORITHMS = ("EdDSA", "Ed25519", "ES256", "PS256", "RS256")
"""What others may sign by: the first two are one (RFC 8037, RFC 9864)."""
_LONGEST = 4096
_KINDS: Mapping[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("OKP", "Ed25519"): (("x",), ("EdDSA", "Ed25519")),
    ("EC", "P-256"): (("x", "y"), ("ES256",)),
    ("RSA", ""): (("n", "e"), ("PS256", "RS256")),
}
"""By ``kty`` and ``crv``: the members that are the key, and what it verifies."""
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_BESIDE = frozenset({"kty", "kid", "use", "alg", "key_ops", "ext"})
_COORDINATE = 32
_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 8192
_EXPONENT = 65537
_KEY_ID = re.compile(r"[!-~]{1,128}")
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


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that was read."""

    jwk: str
    """Its one spelling as JSON: ``kty``, ``kid`` and what is the key, and ``alg`` where the owner said one."""
    id: str
    """Its ``kid``; the RFC 7638 thumbprint where the owner gave none."""
    thumbprint: str
    algorithms: tuple[str, ...]
    """What it verifies."""
    key: AnyPublicKey


def is_weak(key: AnyPublicKey) -> bool:
    """Return whether signatures by the key prove nothing."""
    if isinstance(key, Ed25519PublicKey):
        raw = key.public_bytes_raw()
        return raw[:31] + bytes([raw[31] & 0x7F]) in _LOW_ORDER
    return isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS


def read_public_key(text: str) -> PublicKey:
    """Return the key of a JWK. Raises ValueError that says what is wrong with it and nothing of what stands in it."""
    try:
        found = orjson.loads(text) if len(text) <= _LONGEST else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"must be a JSON Web Key of at most {_LONGEST} characters")  # noqa: TRY004  a wrong text, whatever its type
    if not _PRIVATE.isdisjoint(found):
        raise ValueError("holds a private key, which nobody else should have: make another pair, and send the public half")
    kind = _KINDS.get((_text(found, "kty"), _text(found, "crv") if "crv" in found else ""))
    if kind is None:
        raise ValueError("must be an Ed25519, P-256 or RSA key")
    members, algorithms = kind
    if not found.keys() <= _BESIDE | {"crv", *members}:
        raise ValueError(f"has members that are not taken; known are {', '.join(sorted(_BESIDE | {'crv', *members}))}")
    if found.get("use", "sig") != "sig" or found.get("key_ops", ["verify"]) != ["verify"]:
        raise ValueError("must be for signatures: `use` is `sig`, `key_ops` is [`verify`]")
    if "alg" in found:
        if found["alg"] not in algorithms:
            raise ValueError(f"`alg` must be one of: {', '.join(algorithms)}")
        algorithms = (found["alg"],) if found["kty"] == "RSA" else algorithms
    core = {name: _text(found, name) for name in ("kty", *(("crv",) if "crv" in found else ()), *members)}
    key = _key({name: _decoded(core[name], name) for name in members})
    thumbprint = _thumbprint(core)
    kid = _text(found, "kid") if "kid" in found else thumbprint
    if _KEY_ID.fullmatch(kid) is None:
        raise ValueError("`kid` must have 1 to 128 visible characters of ASCII")
    kept = {**core, "kid": kid, **({"alg": found["alg"]} if "alg" in found else {})}
    return PublicKey(json.dumps(kept, sort_keys=True), kid, thumbprint, algorithms, key)


def jwk_of_pem(data: bytes) -> str:
    """Return the JWK of a public key in PEM. Raises ValueError: none, or of a kind that is not taken."""
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("no public key in PEM") from None
    if isinstance(key, RSAPublicKey):
        return str(jwt.algorithms.RSAAlgorithm.to_jwk(key))
    if isinstance(key, EllipticCurvePublicKey):
        return str(jwt.algorithms.ECAlgorithm.to_jwk(key))
    if isinstance(key, Ed25519PublicKey):
        return str(jwt.algorithms.OKPAlgorithm.to_jwk(key))
    raise ValueError("neither an Ed25519, a P-256 nor an RSA key")


def _key(members: Mapping[str, bytes]) -> AnyPublicKey:
    if "n" in members:
        modulus, exponent = (int.from_bytes(members[name], "big") for name in ("n", "e"))
        if not _LEAST_RSA_BITS <= modulus.bit_length() <= _MOST_RSA_BITS or modulus % 2 == 0 or exponent != _EXPONENT:
            raise ValueError(f"must have {_LEAST_RSA_BITS} to {_MOST_RSA_BITS} bits and the exponent {_EXPONENT}")
        return RSAPublicNumbers(exponent, modulus).public_key()
    if any(len(value) != _COORDINATE for value in members.values()):
        raise ValueError(f"a coordinate must have {_COORDINATE} bytes")
    if "y" in members:
        x, y = (int.from_bytes(members[name], "big") for name in ("x", "y"))
        try:
            return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
        except ValueError:
            raise ValueError("is not on the curve P-256") from None
    key = Ed25519PublicKey.from_public_bytes(members["x"])
    if is_weak(key):
        raise ValueError("is a point of small order, for which anybody can sign")
    return key


def _decoded(text: str, name: str) -> bytes:
    try:
        found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        found = b""
    if not found or urlsafe_b64encode(found).rstrip(b"=").decode() != text or (name in {"n", "e"} and found[0] == 0):
        raise ValueError(f"`{name}` must be base64url without padding, in its one spelling")
    return found


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is missing or not text")  # noqa: TRY004  a wrong key, whatever its type
    return value


def _thumbprint(core: Mapping[str, str]) -> str:
    canonical = json.dumps(core, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
