"""What auth keeps, as plain data. Times are in UTC."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from stylobate.identity import DEFAULT_TENANT, limit_key
from stylobate.rpc.call import Call

from stylobate_auth.mail.kinds import MailKind


@dataclass(frozen=True, slots=True)
class Account:
    """An account as its owner may see it."""

    tenant: str
    id: str
    """UUIDv7."""
    email: str
    """As given, domain in lower case."""
    display_name: str
    roles: tuple[str, ...]
    """Sorted."""
    email_verified: bool
    created_at: datetime
    disabled_at: datetime | None = None
    """Since when nobody is let in."""


@dataclass(frozen=True, slots=True)
class AccountDraft:
    """What is asked for, not yet checked."""

    email: str
    password: str = field(repr=False)
    display_name: str = ""
    roles: tuple[str, ...] = ()
    """Beside ``user``."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account with what proves it."""

    account: Account
    password_hash: str = field(repr=False)
    """Argon2id in PHC form."""
    must_verify: bool = False
    """Whether nobody gets in before the address is proven."""
    is_known_place: bool = False
    """Whether the place that was asked about logged in to it before."""


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to add."""

    account: Account
    email_key: str
    """The address as compared: at most one account of a tenant has it."""
    password_hash: str = field(repr=False)
    must_verify: bool = False
    """Whether nobody gets in before the address is proven."""


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to write: kept with what causes it, sent after that."""

    tenant: str
    id: str
    """UUIDv7."""
    kind: MailKind
    account_id: str | None
    """None: nobody is written to, and it costs the same."""
    token_hash: bytes
    """SHA-256 of the token that it has; the token itself stands nowhere."""
    asked_at: datetime
    expires_at: datetime
    """When its token ends, and with it the tries to send it."""


@dataclass(frozen=True, slots=True)
class UsedMailToken:
    """What a token of a mail proved."""

    account_id: str
    kind: MailKind


@dataclass(frozen=True, slots=True)
class DueMail:
    """A mail that is to be sent now, to the address that its account has now."""

    tenant: str
    id: str
    account_id: str
    kind: MailKind
    address: str = field(repr=False)
    """Empty: the account has none of that kind any more."""
    name: str = field(repr=False)
    asked_at: datetime
    expires_at: datetime
    attempts: int
    """This one counted in."""


class SessionEnd(StrEnum):
    """Why a session is over."""

    LOGOUT = "logout"
    REFRESH_REUSED = "refresh_reused"
    REVOKED = "revoked"
    """By its owner, from another one or itself; or by an administrator."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  a reason


@dataclass(frozen=True, slots=True)
class Session:
    """A login that lasts: the family of its refresh tokens."""

    tenant: str
    id: str
    """UUIDv7; ``sid`` in access tokens."""
    account_id: str
    opened_at: datetime
    expires_at: datetime
    """When the newest refresh token ends, and with it the session."""
    token_expires_at: datetime
    """When the newest access token ends: a revocation holds until then."""
    ended_at: datetime | None = None
    end: SessionEnd | None = None
    address: str = ""
    """Of the client, at the login or the newest refresh."""
    agent: str = ""
    """What the client called itself then."""
    seen_at: datetime | None = None
    """When that was; None: of an older release's session, not known."""

    def is_alive(self, now: datetime) -> bool:
        """Return whether it may still be used."""
        return self.ended_at is None and now < self.expires_at


class RevocationKind(IntEnum):
    """What a revocation names; the numbers of the API."""

    SESSION = 1
    TOKEN = 2
    SUBJECT = 3
    KEY = 4
    KEY_CHANGED = 5
    """Ends nothing: who remembers what the key may forgets it."""


CLOCKS_DIFFER = timedelta(minutes=1)
"""What an entry of the deny-list stays beyond the last token that it could concern."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry of the deny-list."""

    tenant: str
    kind: int
    """A :class:`RevocationKind`, or one of a newer release: it is passed on as it is."""
    id: str
    expires_at: datetime
    """When no token that it could concern is left."""
    not_before: datetime | None = None
    """For a subject: tokens issued before are refused. For a key that changed: when it did."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What makes it this entry."""
        return self.tenant, self.kind, self.id


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """What a look into the deny-list found."""

    entries: Sequence[Revocation]
    access_version: int
    as_of: datetime
    """The database's time; where the next look goes on."""


@dataclass(frozen=True, slots=True)
class Question:
    """Whether the subject may do what the permission says."""

    subject: str
    permission: str
    tenant: str = DEFAULT_TENANT
    resource: str = ""
    """What it is to be done to; empty: anything."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer."""

    is_allowed: bool = False
    granted: tuple[str, ...] = ()
    """Where the subject may not do it to anything, and no resource was named: to what it may; sorted."""
    has_more: bool = False
    """Whether there are more than were looked for."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a session, in the only answer that ever holds them."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime
    """Of the access token."""
    session_ends_at: datetime
    """Unless it is refreshed again."""


def place_of(caller: Call) -> str:
    """Return what limits count of the client's address; empty where a service calls that knows of none."""
    return limit_key(caller.client_address)


def share_of(caller: Call) -> str:
    """Return whose share of the hashing queue a call takes."""
    return place_of(caller) or f"service:{caller.principal.via}"
