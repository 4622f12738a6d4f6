"""A service's own key: it signs a short token with it for each service it calls, and every other service knows its public half.

No round trip and no third party: calls between services are proven while auth is down.
"""

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stylobate.bounded_dict import BoundedDict
from stylobate.errors import TokenInvalidError
from stylobate.health import Health, Status
from stylobate.identity import compact_token
from stylobate.identity.access_token import CLOCK_SKEW_S
from stylobate.identity.service_keys import KeyFolder, PublicKeys, ServiceKeys
from stylobate.logs import get_logger

_TYPE = "st+jwt"  # no access token is ever taken for a service's, nor the other way round
_LIFETIME_S = 300
_MAX_TOKEN = 4096
_CACHE_SIZE = 1024
_LOOK_EVERY_S = 10.0
"""How often the folder is looked at for other keys."""
_LOOK_PAUSE_S = 1.0
"""Between two looks that tokens of unknown keys can cause."""
_REMEMBERED_S = 300.0
"""How long health tells of a clock that differed."""
_log = get_logger("security")


class _Verified(NamedTuple):
    name: str
    audience: str
    expires_at: float


class ServiceIdentity:
    """Signs this service's tokens and verifies those of the others.

    :param name: this service.
    :param public_keys: by service name, this one's included; one key or several.
    :param clock: Unix seconds.
    :param source: where keys are read again when they change; None: they stay.
    :param skew_s: how far the clocks of two machines may differ.
    """

    def __init__(
        self,
        name: str,
        private_key: Ed25519PrivateKey,
        public_keys: Mapping[str, Ed25519PublicKey] | PublicKeys,
        clock: Callable[[], float] = time.time,
        *,
        source: ServiceKeys | None = None,
        skew_s: float = CLOCK_SKEW_S,
    ) -> None:
        self.name = name
        self._private_key = private_key
        self._public_keys = {
            service: (found,) if isinstance(found, Ed25519PublicKey) else tuple(found) for service, found in public_keys.items()
        }
        self._clock = clock
        self._source = source
        self._skew_s = skew_s
        self._look_at = 0.0
        self._signed: dict[str, tuple[str, float]] = {}
        """By audience: the token, and when it is to be renewed."""
        self._verified: BoundedDict[str, _Verified] = BoundedDict(_CACHE_SIZE)
        self._clocks: dict[str, tuple[float, float]] = {}
        """By service: by how many seconds its clock is ahead of this one, and when that was seen."""

    @classmethod
    def load(cls, name: str, private_key_file: Path, folder: Path, *, skew_s: float = CLOCK_SKEW_S) -> "ServiceIdentity":
        """Read the keys.

        :param folder: holds ``<service>.pub.pem`` for every service.
        :raises ConfigError: a file is missing or no Ed25519 key, or the private key is not one that the others know.
        """
        return cls.of(name, KeyFolder(name, private_key_file, folder), skew_s=skew_s)

    @classmethod
    def of(cls, name: str, source: ServiceKeys, *, skew_s: float = CLOCK_SKEW_S) -> "ServiceIdentity":
        """Read the keys there. Raises ConfigError as :meth:`load` does."""
        private_key, public_keys = source.read()
        return cls(name, private_key, public_keys, source=source, skew_s=skew_s)

    def to(self, service: str) -> Callable[[], str]:
        """Return what makes tokens for calls to one service."""
        return partial(self.token, service)

    def token(self, audience: str) -> str:
        """Return a token that proves this service to another for at least half of its 5 minutes; signed anew at half-life."""
        now = self._clock()
        if now >= self._look_at:
            self._look_for_keys(now)
        token, renew_at = self._signed.get(audience, ("", 0.0))
        if not renew_at - _LIFETIME_S <= now < renew_at:  # the clock may be put back
            subject = f"service:{self.name}"
            claims = {"iss": subject, "sub": subject, "aud": audience, "iat": int(now), "exp": int(now) + _LIFETIME_S}
            headers = {"typ": _TYPE, "kid": self.name}
            token = jwt.encode(claims | {"jti": uuid4().hex}, self._private_key, algorithm="EdDSA", headers=headers)
            self._signed[audience] = token, now + _LIFETIME_S / 2
        return token

    def verify(self, token: str, audiences: Collection[str] = ()) -> str:
        """Return the name of the service that signed the token; a token seen before costs a look-up.

        :param audiences: the services it may be for; none: this one.
        :raises TokenInvalidError: malformed, expired, of another kind, for another service, or not signed by the service that
            it names.
        """
        now = self._clock()
        if now >= self._look_at:
            self._look_for_keys(now)
        found = self._verified.get(token)
        if found is None or now >= found.expires_at:
            found = self._check(token, now)
            self._verified.put(token, found)
        if found.audience not in (audiences or (self.name,)):
            raise TokenInvalidError("The service token is for another service.")
        return found.name

    def seal(self, purpose: bytes, content: bytes) -> str:
        """Return text that proves that this service said the content for a purpose: the same until its key is exchanged."""
        return urlsafe_b64encode(self._private_key.sign(_sealed(purpose, content))).rstrip(b"=").decode()

    def has_sealed(self, purpose: bytes, content: bytes, seal: str) -> bool:
        """Return whether a process of this service made the seal, by whichever of its keys that the folder holds."""
        try:
            signature = urlsafe_b64decode(seal + "=" * (-len(seal) % 4))
        except ValueError:
            return False
        for key in self._public_keys.get(self.name, ()):
            with suppress(InvalidSignature):
                key.verify(signature, _sealed(purpose, content))
                return True
        return False

    async def health(self) -> Health:
        """Degraded while another machine's clock differs by more than may be."""
        since = self._clock() - _REMEMBERED_S
        told = [
            f"the clock of {service} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this one's"
            for service, (ahead, at) in sorted(self._clocks.items())
            if at > since
        ]
        return Health(Status.DEGRADED if told else Status.HEALTHY, "; ".join(told))

    def _check(self, token: str, now: float) -> _Verified:
        try:
            name = compact_token.key_id(token, _TYPE, longest=_MAX_TOKEN)
            claims = self._claims(token, name, now)
            subject, audience = compact_token.text(claims, "sub"), compact_token.text(claims, "aud")
            issued_at, expires_at = compact_token.seconds(claims, "iat"), compact_token.seconds(claims, "exp")
            compact_token.check_not_before(claims, now, self._skew_s)
        except ValueError as error:
            raise TokenInvalidError("The service token is not valid.") from error
        if subject != f"service:{name}" or claims.get("iss") != subject or not 0 < expires_at - issued_at <= _LIFETIME_S:
            raise TokenInvalidError("The service token is not valid.")
        self._compare_clocks(name, issued_at, now)
        if not issued_at - self._skew_s <= now < expires_at:
            raise TokenInvalidError("The service token has expired, or the clocks of two machines differ.")
        return _Verified(name, audience, expires_at)

    def _claims(self, token: str, name: str, now: float) -> Mapping[str, object]:
        """Return the claims, by whichever of the service's keys they were signed; look for new keys when none fits."""
        for attempt in range(2):
            for key in self._public_keys.get(name, ()):
                try:
                    return compact_token.claims(token, key)
                except ValueError:
                    continue
            if attempt or not self._look_for_keys(now, soon=True):
                break
        raise ValueError("not signed by a key of the service")

    def _look_for_keys(self, now: float, *, soon: bool = False) -> bool:
        """Read the keys again if they have changed; return whether they have."""
        pause = _LOOK_EVERY_S - _LOOK_PAUSE_S if soon else 0.0
        if self._source is None or self._look_at - pause > now >= self._look_at - 2 * _LOOK_EVERY_S:
            return False
        self._look_at = now + _LOOK_EVERY_S
        found = self._source.read_again()
        if found is None:
            return False
        self._private_key, public_keys = found
        self._public_keys = {service: tuple(keys) for service, keys in public_keys.items()}
        self._signed.clear()
        self._verified.clear()  # what a key proved that is gone must be proven again
        _log.info("service_keys_read", services={service: len(keys) for service, keys in self._public_keys.items()})
        return True

    def _compare_clocks(self, service: str, issued_at: float, now: float) -> None:
        """Note a clock that differs by more than may be: a token is younger than half its life when it is first seen."""
        ahead = max(issued_at - now, 0.0) or min(issued_at + _LIFETIME_S / 2 - now, 0.0)
        if abs(ahead) <= self._skew_s:
            self._clocks.pop(service, None)
            return
        if service not in self._clocks or now - self._clocks[service][1] > _REMEMBERED_S:
            _log.error("clocks_differ", service=service, ahead_s=round(ahead), cure="set the clocks by NTP; STYLOBATE_CLOCK_SKEW")
        self._clocks[service] = (ahead, now)


def _sealed(purpose: bytes, content: bytes) -> bytes:
    """Return what is signed: never what a token is signed over, which is base64url with a dot in it."""
    return b"stylobate seal\0" + purpose + b"\0" + content
