"""Access tokens: signing them, and the public key that they are verified with."""

import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from stylobate.config import ConfigError
from stylobate.identity.access_token import AUDIENCE, ISSUER, TYPE
from stylobate.ids import new_id

from stylobate_auth.model import Account, Session

_SALT = b"stylobate.auth.signing_key"
_INFO = b"ed25519 v1"
_LEAST_CHARACTERS = 32
_NAME = "STYLOBATE_AUTH_SIGNING_KEY"


class JWTManager:
    """Signs access tokens (RFC 9068, EdDSA) and publishes the key set.

    :param lifetime: of a token.
    """

    def __init__(self, key: Ed25519PrivateKey, lifetime: timedelta) -> None:
        self._key = key
        self.lifetime = lifetime
        x = urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
        public = {"crv": "Ed25519", "kty": "OKP", "x": x}
        self.key_id = thumbprint(public)
        self.jwks = json.dumps({"keys": [{**public, "kid": self.key_id, "alg": "EdDSA", "use": "sig"}]}).encode()
        """The key set (RFC 7517)."""
        self._headers = {"typ": TYPE, "kid": self.key_id}

    def sign(self, account: Account, session: Session, now: datetime) -> str:
        """Return an access token of the session that holds from now for the lifetime.

        ``iat`` has microseconds (RFC 7519 §2 allows it): a login in the second in which everything of a user was ended is not.
        """
        issued_at = round(now.timestamp(), 6)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": account.id,
            "tenant": account.tenant,
            "sid": session.id,
            "jti": new_id(),
            "iat": issued_at,
            "exp": int(issued_at) + int(self.lifetime.total_seconds()),
            "roles": list(account.roles),
            "scope": "",
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers=self._headers)


def signing_key(material: str) -> Ed25519PrivateKey:
    """Return the key that a setting stands for.

    A PEM block is read as it is. Any other text of at least 32 characters is the input of HKDF-SHA256 (RFC 5869) with the
    salt ``stylobate.auth.signing_key`` and the info ``ed25519 v1``; its 32 bytes are the private key (RFC 8032).

    :raises ConfigError: neither of both.
    """
    if material.lstrip().startswith("-----BEGIN"):
        return _from_pem(material)
    if len(material) < _LEAST_CHARACTERS:
        raise ConfigError([f"{_NAME}: an Ed25519 key in PEM or at least {_LEAST_CHARACTERS} characters of secret text"])
    seed = HKDF(algorithm=SHA256(), length=32, salt=_SALT, info=_INFO).derive(material.encode())
    return Ed25519PrivateKey.from_private_bytes(seed)


def _from_pem(text: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(text.strip().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError([f"{_NAME}: the PEM block cannot be read as a private key ({type(error).__name__})"]) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError([f"{_NAME}: not an Ed25519 key"])
    return key


def thumbprint(jwk: dict[str, str]) -> str:
    """Return the RFC 7638 thumbprint of a key given by its required members."""
    canonical = json.dumps(jwk, separators=(",", ":"), sort_keys=True)
    return urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
