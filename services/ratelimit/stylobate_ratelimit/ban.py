"""A ban: whom it keeps out, why, until when."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from stylobate.identity import DEFAULT_TENANT
from stylobate.identity.networks import network_key

from stylobate_ratelimit.errors import BanInvalidError

LEVELS = ("ip", "user", "api_key", "session", "tenant")
"""What can be banned."""
LONGEST = timedelta(days=3650)
"""A ban for longer is one until it is lifted."""
WIDEST_V4, WIDEST_V6 = 8, 16
"""The shortest prefixes: a slip must not keep everybody out."""
_MAX_SUBJECT = 512
_MAX_REASON = 512


class BanSubject(NamedTuple):
    """Whom a ban keeps out."""

    tenant: str
    """Of an address ``default``: it may be anybody's."""
    level: str
    subject: str
    """An address as limits count it (of IPv6 a /64), a network (``192.0.2.0/24``), or an id."""

    @classmethod
    def of(cls, level: str, subject: str, tenant: str = DEFAULT_TENANT) -> "BanSubject":
        """Return the subject in its one spelling. Raises BanInvalidError."""
        return cls(tenant, level, subject).checked()

    def checked(self) -> "BanSubject":
        """Return the subject in its one spelling. Raises BanInvalidError."""
        tenant, level, subject = self
        if level not in LEVELS:
            raise BanInvalidError(f"{level!r} cannot be banned; use one of: {', '.join(LEVELS)}.")
        if not subject or len(subject) > _MAX_SUBJECT or "\0" in subject:
            raise BanInvalidError(f"A subject has 1 to {_MAX_SUBJECT} characters, none of them U+0000.")
        if level == "ip":
            return BanSubject(DEFAULT_TENANT, level, _address(subject))
        return BanSubject(subject if level == "tenant" else tenant, level, subject)


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban as it is kept."""

    subject: BanSubject
    reason: str
    """For operators; who is banned is not told."""
    rule: str
    """Whose refusals led to it; empty: an operator put it."""
    actor: str
    strikes: int
    """Automatic bans in a row, this one included; 0 for an operator's."""
    started_at: datetime
    until: datetime | None
    """None: until it is lifted."""
    is_lifted: bool = False

    def holds(self, now: datetime) -> bool:
        """Return whether it is in force."""
        return not self.is_lifted and (self.until is None or self.until > now)


@dataclass(frozen=True, slots=True)
class OperatorBan:
    """What an operator asks for."""

    subject: BanSubject
    duration: timedelta | None
    """None: until it is lifted."""
    reason: str
    actor: str

    def checked(self) -> "OperatorBan":
        """Return it with its subject in the one spelling. Raises BanInvalidError."""
        if self.duration is not None and not timedelta(0) < self.duration <= LONGEST:
            raise BanInvalidError(f"A ban lasts up to {LONGEST.days} days, or without a duration until it is lifted.")
        if len(self.reason) > _MAX_REASON or "\0" in self.reason:
            raise BanInvalidError(f"A reason has at most {_MAX_REASON} characters, none of them U+0000.")
        if self.subject.level == "user" and "@" in self.subject.subject:
            raise BanInvalidError("A user is banned by id, not by mail address; `stylobate users list --email` tells the id.")
        return replace(self, subject=self.subject.checked())


@dataclass(frozen=True, slots=True)
class AutomaticBan:
    """What a rule asks for: its ``first`` time, doubled with each strike up to its ``ceiling``."""

    subject: BanSubject
    rule: str
    first: timedelta
    ceiling: timedelta


@dataclass(frozen=True, slots=True)
class BanPage:
    """What a look found."""

    bans: Sequence[Ban]
    as_of: datetime
    """The store's own time."""


def _address(text: str) -> str:
    """Return an address or a network, written in any way, as doors look it up. Raises BanInvalidError."""
    try:
        found = network_key(text)
    except ValueError:
        raise BanInvalidError(
            f"{text!r} is neither an address nor a network; write 192.0.2.7, 192.0.2.0/24, 2001:db8:1:2::7 or 2001:db8::/48. "
            "Of IPv6 nothing narrower than a /64 can be banned."
        ) from None
    network, _, length = found.partition("/")
    widest = WIDEST_V6 if ":" in network else WIDEST_V4
    if length and int(length) < widest:
        raise BanInvalidError(f"{found} is too wide: a /{widest} is the most that one ban keeps out.")
    return found
