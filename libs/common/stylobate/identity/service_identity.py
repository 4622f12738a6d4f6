"""A service's own key: it signs a short token with it, and every other service knows its public half.

No round trip and no third party: calls between services are proven while auth is down.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stylobate.config import ConfigError
from stylobate.errors import TokenInvalidError

SERVICE_NAMES = ("auth", "ratelimit", "state", "actions", "realtime", "gateway", "cli")
"""Every name that signs service tokens; ``cli`` is the operator's command."""

_AUDIENCE = "stylobate"
_TYPE = "st+jwt"  # no access token is ever taken for a service's, nor the other way round
_LIFETIME_S = 300
_SKEW_S = 30
_MAX_TOKEN = 4096
_CACHE_SIZE = 1024
_REQUIRED = ["iss", "sub", "aud", "iat", "exp"]
_OWN_CLOCK = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": _REQUIRED}


class ServiceIdentity:
    """Signs this service's tokens and verifies those of the others.

    :param name: this service, one of :data:`SERVICE_NAMES`.
    :param public_keys: by service name, this one's included.
    :param clock: Unix seconds.
    """

    def __init__(
        self,
        name: str,
        private_key: Ed25519PrivateKey,
        public_keys: Mapping[str, Ed25519PublicKey],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._private_key = private_key
        self._public_keys = dict(public_keys)
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0
        self._verified: dict[str, tuple[str, float]] = {}

    @classmethod
    def load(cls, name: str, private_key_file: Path, folder: Path) -> "ServiceIdentity":
        """Read the keys.

        :param folder: holds ``<service>.pub.pem`` for every service.
        :raises ConfigError: a file is missing or no Ed25519 key, or the private key is not the one the others know.
        """
        private_key = _read_private(private_key_file)
        public_keys = {path.name.removesuffix(".pub.pem"): _read_public(path) for path in sorted(folder.glob("*.pub.pem"))}
        known = public_keys.get(name)
        if known is None:
            raise ConfigError([f"{folder / name}.pub.pem: missing; the other services need it to know {name}"])
        if known.public_bytes_raw() != private_key.public_key().public_bytes_raw():
            raise ConfigError([f"{private_key_file}: does not belong to {folder / name}.pub.pem"])
        return cls(name, private_key, public_keys)

    def token(self) -> str:
        """Return a token that proves this service for at least half of its 5 minutes; signed anew at half-life."""
        now = self._clock()
        if now >= self._renew_at:
            subject = f"service:{self.name}"
            claims = {"iss": subject, "sub": subject, "aud": _AUDIENCE, "iat": int(now), "exp": int(now) + _LIFETIME_S}
            headers = {"typ": _TYPE, "kid": self.name}
            self._token = jwt.encode(claims | {"jti": uuid4().hex}, self._private_key, algorithm="EdDSA", headers=headers)
            self._renew_at = now + _LIFETIME_S / 2
        return self._token

    def verify(self, token: str) -> str:
        """Return the name of the service that signed the token; a token seen before costs a look-up.

        :raises TokenInvalidError: malformed, expired, of another kind, or not signed by the service that it names.
        """
        now = self._clock()
        found = self._verified.get(token)
        if found is not None and now < found[1]:
            return found[0]
        name, expires_at = self._check(token, now)
        if len(self._verified) >= _CACHE_SIZE:
            for old in list(islice(self._verified, _CACHE_SIZE // 8)):
                del self._verified[old]
        self._verified[token] = (name, expires_at)
        return name

    def _check(self, token: str, now: float) -> tuple[str, float]:
        if len(token) > _MAX_TOKEN or not token.isascii():
            raise TokenInvalidError("The service token is malformed.")
        try:
            header = jwt.get_unverified_header(token)
            name = header.get("kid", "")
            key = self._public_keys.get(name)
            if key is None or header.get("typ") != _TYPE:
                raise TokenInvalidError("The service token is of another kind or of an unknown service.")
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=_AUDIENCE,
                issuer=f"service:{name}",
                options=dict(_OWN_CLOCK),  # type: ignore[arg-type]  # PyJWT types its options as a TypedDict
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenInvalidError("The service token is not valid.") from error
        issued_at, expires_at = claims["iat"], claims["exp"]
        if not isinstance(issued_at, int) or not isinstance(expires_at, int) or claims["sub"] != claims["iss"]:
            raise TokenInvalidError("The service token is not valid.")
        if not issued_at - _SKEW_S <= now < expires_at or expires_at - issued_at > _LIFETIME_S:
            raise TokenInvalidError("The service token has expired.")
        return name, float(expires_at)


def generate_service_keys(folder: Path, names: Sequence[str] = SERVICE_NAMES) -> None:
    """Write ``<name>.pem`` (0600) and ``<name>.pub.pem`` for each name that has none; several processes may do so at once.

    An existing private key is kept, and its public half written again where it is missing or another one's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        private_file, public_file = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        if not private_file.exists():
            _write_once(private_file, _private_pem(Ed25519PrivateKey.generate()))
        public = _public_pem(_read_private(private_file).public_key())
        if not public_file.exists() or public_file.read_bytes() != public:
            _write(public_file, public)


def _write_once(path: Path, content: bytes) -> None:
    candidate = _beside(path, content, 0o600)
    try:
        os.link(candidate, path)  # atomic, and fails where another process was quicker: its key holds
    except FileExistsError:
        pass
    finally:
        candidate.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    _beside(path, content, 0o644).replace(path)


def _beside(path: Path, content: bytes, mode: int) -> Path:
    candidate = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return candidate


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read_private(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise ConfigError([f"{path}: missing; it holds this service's Ed25519 key"]) from None
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError([f"{path}: cannot be read as a private key ({type(error).__name__})"]) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError([f"{path}: not an Ed25519 key"])
    return key


def _read_public(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError([f"{path}: cannot be read as a public key ({type(error).__name__})"]) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError([f"{path}: not an Ed25519 key"])
    return key
