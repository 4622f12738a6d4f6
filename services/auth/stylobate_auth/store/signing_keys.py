"""What auth keeps of signing keys and issuers: its part of the port."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from stylobate_auth.signing_key import SigningKey


class SigningKeyChanges(Protocol):
    """What a transaction does with keys."""

    async def hold_signing_keys(self) -> Sequence[SigningKey]:
        """Return all keys by ``signs_from``; nobody else adds one until the transaction ends."""

    async def add_signing_key(self, key: SigningKey) -> None:
        """Add a key. Held before by :meth:`hold_signing_keys`."""


class SigningKeys(Protocol):
    """How keys are read and kept."""

    async def signing_keys(self, now: datetime) -> tuple[Sequence[SigningKey], Sequence[str]]:
        """Return all keys by ``signs_from``, and the issuers whose tokens count."""

    async def reseal_signing_key(self, key: SigningKey, sealed: bytes, sealed_by: str) -> None:
        """Keep a key's private half sealed anew, unless another process did meanwhile."""

    async def keep_issuer(self, issuer: str, until: datetime) -> None:
        """Let an issuer count until then, or for longer where it does."""

    async def remove_signing_keys(self, used_before: datetime) -> int:
        """Remove keys whose successor was in use then, and issuers that did not count any more; return how many."""
