"""Who is calling, and permissions as text: ``orders:create``, ``orders:*`` (all of an area), ``*`` (everything)."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

DEFAULT_TENANT = "default"
EVERYTHING = "*"


class PrincipalKind(StrEnum):
    """What kind of caller."""

    ANONYMOUS = "anonymous"
    USER = "user"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. Built from tokens only, never from what a peer says of itself."""

    kind: PrincipalKind
    id: str
    """A user's UUIDv7; ``service:<name>`` for a service; empty for an anonymous caller. The token's ``sub``."""
    tenant: str = DEFAULT_TENANT
    session: str = ""
    """The token's ``sid``; empty for a service, and for an API key."""
    token_id: str = ""
    """The token's ``jti``; the id of an API key that was sent itself."""
    roles: tuple[str, ...] = ()
    """A hint from the token; :class:`stylobate.identity.Access` decides."""
    scopes: frozenset[str] = frozenset()
    """What the token or key may be used for; of a token without any: everything, see :meth:`lends`."""
    issued_at: float = 0.0
    """Unix seconds."""
    expires_at: float = 0.0
    """Unix seconds."""
    via: str = ""
    """The service that made the call, proven by its own token; empty when a client called directly."""
    act_for: str = ""
    """For a service's own work: the subject that caused it. Counts only beside a service's token."""
    module: str = ""
    """Whose code makes the call, as the service in ``via`` says: of a handler or a hook of this module. Empty for any other."""
    is_key: bool = False
    """Whether an API key stands for the user: it was sent itself, or the access token was issued for one."""
    key_id: str = ""
    """The id of the API key that an access token was issued for; empty where the key itself was sent."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where an API key is taken from; none: from everywhere."""
    rate_limit: str = ""
    """What an API key is limited to by itself, ``100/minute``; empty: nothing."""

    # worked out once: a principal is kept, and asked for these at each step of a call
    subject: str = field(init=False, repr=False, compare=False)
    """The id whose rights and ownership count: ``act_for`` where a service acts for someone, else ``id``."""
    is_anonymous: bool = field(init=False, repr=False, compare=False)
    """Whether nobody is known."""
    is_service: bool = field(init=False, repr=False, compare=False)
    """Whether a service acts in its own name (perhaps for a subject)."""

    def __post_init__(self) -> None:
        """Work out the rest."""
        object.__setattr__(self, "subject", self.act_for or self.id)
        object.__setattr__(self, "is_anonymous", self.kind is PrincipalKind.ANONYMOUS)
        object.__setattr__(self, "is_service", self.kind is PrincipalKind.SERVICE)

    @property
    def sends_key(self) -> bool:
        """Whether the caller sends an API key itself, with every call."""
        return self.is_key and not self.key_id

    def lends(self, term: str) -> bool:
        """Return whether what proves the caller may be used for a right that its subject has.

        An access token without scopes may for all; one with scopes, and any API key, for what the scopes cover.

        :param term: a permission, or the word ``authenticated`` or ``owner`` of an access rule.
        """
        return not (self.is_key or self.scopes) or grants(self.scopes, term)

    def with_via(self, service: str, module: str = "") -> "Principal":
        """Return the same caller, coming through the service, there through code of the module."""
        return replace(self, via=service, module=module)


ANONYMOUS = Principal(kind=PrincipalKind.ANONYMOUS, id="")


_SUBJECT = re.compile(r"[!-9;-~]{1,255}")


def subject_fault(text: str) -> str | None:
    """Return why a text can be the id of no user, as a violation's sentence; None: it can.

    It has the form of one. Whether there is such a user only auth knows, and the user may be deleted a moment later.
    """
    if _SUBJECT.fullmatch(text):
        return None
    return "can be the id of no user: those have 1 to 255 printable characters of ASCII, without spaces and `:`"


def grants(held: Collection[str], permission: str) -> bool:
    """Return whether one of the permissions held covers the one asked for.

    ``orders:*`` covers ``orders:create`` and ``orders:items:read``; ``*`` covers all. What is asked for is taken
    literally: holding ``orders:create`` does not answer a question about ``orders:*``.
    """
    if permission in held or EVERYTHING in held:
        return True
    area, colon, _ = permission.rpartition(":")
    while colon:
        if f"{area}:*" in held:
            return True
        area, colon, _ = area.rpartition(":")
    return False
