"""Signing keys as plain data, and how they are made. Times are in UTC."""

import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

import jwt.algorithms
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Algorithm = Literal["EdDSA", "RS256"]
PrivateKey = Ed25519PrivateKey | RSAPrivateKey

LONGEST_LIFETIME = timedelta(hours=1)
"""The most that the lifetime of access tokens may be set to."""
_CLOCKS_DIFFER = timedelta(minutes=2)
KEPT_FOR = LONGEST_LIFETIME + _CLOCKS_DIFFER
"""How long a key is published after its last use: until the last token that it signed has expired, whatever was set."""
_RSA_BITS = 2048


class Place(Enum):
    """Where a key stands; the numbers of the API."""

    NEXT = 1
    CURRENT = 2
    PREVIOUS = 3


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key as it is kept."""

    id: str
    """Its RFC 7638 thumbprint, ``kid`` in tokens."""
    algorithm: Algorithm
    public_key: str
    """The JWK that is published, as JSON."""
    sealed: bytes = field(repr=False)
    """The private half, PKCS #8 in DER, as the key encryption sealed it."""
    sealed_by: str
    """What it was sealed with."""
    published_at: datetime
    signs_from: datetime


def make_private_key(algorithm: Algorithm) -> PrivateKey:
    """Return a new key (RSA: 2048 bits, some 100 ms)."""
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return Ed25519PrivateKey.generate()


def algorithm_of(key: PrivateKey) -> Algorithm:
    """Return what a key signs by."""
    return "EdDSA" if isinstance(key, Ed25519PrivateKey) else "RS256"


def to_der(key: PrivateKey) -> bytes:
    """Return a private key as it is sealed."""
    return key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def from_der(data: bytes) -> PrivateKey:
    """Return the private key that was sealed. Raises ValueError."""
    key = serialization.load_der_private_key(data, password=None)
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        raise ValueError("not a signing key")  # noqa: TRY004  wrong data, whatever its type
    return key


def public_jwk(key: PrivateKey) -> dict[str, str]:
    """Return the JWK to publish, with ``kid``, ``alg`` and ``use``."""
    if isinstance(key, Ed25519PrivateKey):
        x = urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        public = {"crv": "Ed25519", "kty": "OKP", "x": x}
    else:
        found = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        public = {name: found[name] for name in ("e", "kty", "n")}
    return {**public, "kid": thumbprint(public), "alg": algorithm_of(key), "use": "sig"}


def thumbprint(jwk: dict[str, str]) -> str:
    """Return the RFC 7638 thumbprint of a key given by its required members."""
    canonical = json.dumps(jwk, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
