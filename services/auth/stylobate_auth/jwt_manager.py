"""Access tokens, and the key that a setting stands for."""

from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from stylobate.config import ConfigError
from stylobate.identity.access_token import AUDIENCE, TYPE
from stylobate.ids import new_id

from stylobate_auth.key_ring import KeyRing
from stylobate_auth.model import Account, Session

FIRST_PARTY = "stylobate"
"""The ``client_id`` of sessions: the platform's own API, which nobody registers as."""
_PASSWORD = ["pwd"]
"""How sessions are opened (RFC 8176)."""
_SALT = b"stylobate.auth.signing_key"
_INFO = b"ed25519 v1"
_LEAST_CHARACTERS = 32
_NAME = "STYLOBATE_AUTH_SIGNING_KEY"


class JWTManager:
    """Signs access tokens (RFC 9068).

    :param lifetime: of a token.
    """

    def __init__(self, ring: KeyRing, lifetime: timedelta) -> None:
        self._ring = ring
        self.lifetime = lifetime

    def sign(self, account: Account, session: Session, now: datetime) -> str:
        """Return an access token of the session that holds from now for the lifetime.

        ``iat`` has microseconds (RFC 7519 §2 allows it): a login in the second in which everything of a user was ended is not.
        """
        claims = self._claims(account, FIRST_PARTY, now, self.lifetime)
        auth_time = int(session.opened_at.timestamp())
        return self._sign(claims | {"sid": session.id, "auth_time": auth_time, "acr": "1", "amr": _PASSWORD}, now)

    def sign_for_client(self, account: Account, key_id: str, scope: str, now: datetime, lifetime: timedelta) -> str:
        """Return an access token of a service account that acts for itself, as far as the scopes of the API key reach.

        :param scope: never empty: a token without would lend everything.
        """
        return self._sign(self._claims(account, account.id, now, lifetime) | {"scope": scope, "key": key_id}, now)

    def _claims(self, account: Account, client_id: str, now: datetime, lifetime: timedelta) -> dict[str, Any]:
        issued_at = round(now.timestamp(), 6)
        return {
            "iss": self._ring.issuer,
            "aud": AUDIENCE,
            "sub": account.id,
            "client_id": client_id,
            "tenant": account.tenant,
            "jti": new_id(),
            "iat": issued_at,
            "exp": int(issued_at) + int(lifetime.total_seconds()),
            "roles": list(account.roles),
            "scope": "",
        }

    def _sign(self, claims: dict[str, Any], now: datetime) -> str:
        signer = self._ring.signer(now)
        return jwt.encode(claims, signer.key, algorithm=signer.algorithm, headers={"typ": TYPE, "kid": signer.key_id})


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
