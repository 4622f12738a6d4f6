"""The signing keys as this process has them, and the key set that it publishes."""

import json
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from stylobate.errors import UnavailableError
from stylobate.identity.access_token import ISSUER

from stylobate_auth.signing_key import KEPT_FOR, Place, PrivateKey, SigningKey, algorithm_of, public_jwk


@dataclass(frozen=True, slots=True)
class Signer:
    """What signs now."""

    key_id: str
    algorithm: str
    key: PrivateKey = field(repr=False)


class KeyRing:
    """Keys in the order in which they are used. Which one signs follows from the time, so all processes change at once.

    :param issuer: the ``iss`` of what is signed.
    """

    def __init__(self, issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self._keys: Sequence[SigningKey] = ()
        self._signers: Mapping[str, Signer] = {}
        self.issuers: Collection[str] = (issuer,)
        """Whose tokens count."""

    @classmethod
    def of(cls, key: PrivateKey, issuer: str = ISSUER) -> "KeyRing":
        """Return a ring of one key, which nobody exchanges."""
        jwk, always = public_jwk(key), datetime.min.replace(tzinfo=UTC)
        ring = cls(issuer)
        kept = SigningKey(jwk["kid"], algorithm_of(key), json.dumps(jwk), b"", "", always, always)
        ring.take([kept], {kept.id: key}, (issuer,))
        return ring

    def take(self, keys: Sequence[SigningKey], private: Mapping[str, PrivateKey], issuers: Collection[str]) -> None:
        """Have these keys from now on.

        :param keys: all, by ``signs_from``. :param private: the halves that could be opened, by id.
        """
        self._keys = keys
        self._signers = {key.id: Signer(key.id, key.algorithm, private[key.id]) for key in keys if key.id in private}
        self.issuers = issuers

    def private(self, key_id: str) -> PrivateKey | None:
        """Return the private half of a key; None: it was not opened here."""
        signer = self._signers.get(key_id)
        return None if signer is None else signer.key

    def signer(self, now: datetime) -> Signer:
        """Return what signs: the newest key that is in use and could be opened here. Raises UnavailableError: none."""
        for key in reversed(self._keys[: self._in_use(now)]):
            signer = self._signers.get(key.id)
            if signer is not None:
                return signer
        raise UnavailableError("No signing key can be used here.")

    def published(self, now: datetime) -> list[tuple[SigningKey, Place]]:
        """Return the keys that are published, the newest first, and where each stands."""
        current = self._in_use(now) - 1
        found = []
        for index, key in enumerate(self._keys):
            is_over = index < current and self._keys[index + 1].signs_from <= now - KEPT_FOR
            if not is_over:
                found.append((key, Place.NEXT if index > current else Place.CURRENT if index == current else Place.PREVIOUS))
        return found[::-1]

    def jwks(self, now: datetime) -> bytes:
        """Return the key set (RFC 7517)."""
        return json.dumps({"keys": [json.loads(key.public_key) for key, _ in self.published(now)]}).encode()

    def _in_use(self, now: datetime) -> int:
        """Return how many keys are in use or were: the first one always is.

        A process may have looked at its clock before another made that key, or its clock may be behind.
        """
        return max(1, bisect_right(self._keys, now, key=lambda key: key.signs_from))
