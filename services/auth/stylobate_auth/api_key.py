"""API keys, as plain data. Times are in UTC."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from stylobate_auth.model import CLOCKS_DIFFER, Revocation, RevocationKind

BELIEVED_FOR = timedelta(minutes=10)
"""How long a verifier may remember that a key holds: as long as an access token does."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, without its secret."""

    tenant: str
    id: str
    """UUIDv7."""
    owner: str
    """The account whose key it is."""
    name: str
    scopes: tuple[str, ...]
    """Sorted."""
    allowed_cidrs: tuple[str, ...]
    """Networks in their one spelling; none: from everywhere."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    replaced_by: str = ""
    """The id of the key that it was exchanged for."""
    rate_limit: str = ""
    """``100/minute``; empty: no limit of its own."""
    public_key: str = ""
    """A JWK as JSON, of a key that has no secret; empty: it has one."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to add."""

    key: ApiKey
    secret_hash: bytes = field(repr=False)
    """Of a key with a public key that of a secret which nobody was told."""
    thumbprint: str = ""
    """Of its public key."""


@dataclass(frozen=True, slots=True)
class ApiKeyDraft:
    """What is asked for, not yet checked."""

    name: str
    scopes: tuple[str, ...] = ()
    allowed_cidrs: tuple[str, ...] = ()
    expires_at: datetime | None = None
    owner: str = ""
    """Empty: who asks."""
    rate_limit: str = ""
    public_key: str = ""
    """A JWK; empty: a secret is made."""


class Standing(Enum):
    """How a key stands that somebody sent."""

    VALID = 1
    UNKNOWN = 2
    EXPIRED = 3
    REVOKED = 4


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """What is known of a key that somebody sent."""

    standing: Standing
    key: ApiKey | None = None
    """Of one that holds."""
    verified_at: datetime | None = None
    believed_until: datetime | None = None


def change_of(tenant: str, key_id: str, now: datetime) -> Revocation:
    """Return the entry for a key that changes now: as long as somebody may believe what it was before."""
    return Revocation(tenant, RevocationKind.KEY_CHANGED, key_id, now + BELIEVED_FOR + CLOCKS_DIFFER, not_before=now)


def revocation_of(tenant: str, key_id: str, now: datetime) -> Revocation:
    """Return the entry of the deny-list for a key that ends now: as long as somebody may believe in it."""
    return Revocation(tenant, RevocationKind.KEY, key_id, now + BELIEVED_FOR + CLOCKS_DIFFER)
