"""What modules declare, as plain data: the loader's result, read by the service it concerns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from stylobate.declarations.action_resource import ActionResource

JsonSchema = Mapping[str, Any]


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in a declaration, with its place."""

    file: str
    """Path as given to the loader, such as ``modules/shop/actions.yaml``."""
    line: int
    """From 1; 0 where the whole file is meant."""
    message: str
    severity: Severity = Severity.ERROR
    follows: bool = False
    """Whether it only says what follows from another finding, and goes when that one is mended."""

    def __str__(self) -> str:
        """Return ``file:line: message``."""
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may: any one of the terms is enough; no term means nobody.

    A term is ``public``, ``authenticated``, ``owner``, ``actions of shop`` (only through handlers and hooks of that module) or a
    permission such as ``orders:read``.
    """

    terms: tuple[str, ...] = ()

    @property
    def permissions(self) -> tuple[str, ...]:
        """The terms that are permissions."""
        return tuple(term for term in self.terms if ":" in term)

    def __str__(self) -> str:
        """Return the rule as declared."""
        return " or ".join(self.terms)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit such as ``30/minute``."""

    limit: int
    period: timedelta
    algorithm: str = "window"
    """``window`` (exact, at most 1,000 a period) or ``gcra``."""
    burst: int = 0
    """For ``gcra``: how many at once; 0 means ``limit``."""
    text: str = ""
    """As declared."""


@dataclass(frozen=True, slots=True)
class BanRule:
    """Who is refused ``after`` times ``within`` a time is banned for ``first``, each further time twice as long."""

    after: int
    within: timedelta
    first: timedelta
    ceiling: timedelta
    """How long a ban lasts at most, and how long after one the next still counts as a further one."""


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A rule: whom it counts, for what, how often. An action's ``rate_limit`` is one too."""

    name: str
    """``shop.place_order``: part of keys, headers and metrics."""
    limit: RateLimit
    per: tuple[str, ...]
    """What its counts are kept apart by: ``ip``, ``user``, ``api_key``, ``session``, ``tenant``, ``caller`` (a user by name, else
    the address), ``route``, ``action``, ``channel``, ``header:<name>``; ``global``: everybody together."""
    match: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Which requests it counts: for each of these one of the patterns must fit. ``*`` stands for any text."""
    cost: int = 1
    is_shadow: bool = False
    """Whether it is counted and never refuses."""
    on_redis_down: str = ""
    """``local``, ``open`` or ``closed``; empty: the setting of the ratelimit service."""
    ban: BanRule | None = None
    said_of_ban: frozenset[str] = frozenset()
    """The fields of the ban that the rule says itself; the others are the platform's defaults."""
    overrides: Mapping[str, RateLimit] = field(default_factory=dict)
    """Other limits for single subjects, by what is counted."""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class ActionDeclaration:
    """One action."""

    name: str
    """Full name, ``shop.place_order``."""
    module: str
    handler: str
    """The method of the module's class."""
    access: AccessRule
    """One term: a permission, ``public`` or ``authenticated``."""
    resource: ActionResource | None = None
    """What the action is done to, so that the permission may be granted on just that; None: nothing by itself."""
    summary: str = ""
    route: str = ""
    """``POST /orders``, or empty."""
    rate_limit: RateLimit | None = None
    limit_rule: LimitRule | None = None
    """In place of it, where more than numbers is declared."""
    timeout: timedelta = timedelta(seconds=5)
    takes_keys: bool = True
    """Whether its calls may have an idempotency key (``idempotent``). False: its answers are kept nowhere."""
    input: JsonSchema | None = None
    """Self-contained JSON Schema 2020-12 (``$defs`` inside); None: the handler's annotations say it, else no input."""
    output: JsonSchema | None = None
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class TransitionDeclaration:
    """One event of a namespace's machine."""

    event: str
    sources: tuple[str, ...]
    """The statuses it may leave (``from``)."""
    target: str
    """The status it enters (``to``)."""
    access: AccessRule | None = None
    """None: the namespace's ``write`` holds."""
    data: JsonSchema | None = None
    """What a merge patch for the data must look like when who fires the event does not hold ``write``: the schema of an object
    that names its members and is closed. None: the event carries no data."""
    guard: str = ""
    """A condition in CEL, see :class:`stylobate.declarations.guard.Guard`; empty: none."""


@dataclass(frozen=True, slots=True)
class EffectDeclaration:
    """An action of the module that is called after a change of status."""

    moment: str
    """``on_exit``, ``do`` or ``on_enter``."""
    of: str
    """The status left or entered, or the event."""
    action: str
    line: int


@dataclass(frozen=True, slots=True)
class TimerDeclaration:
    """An event that the platform fires when an object has stood in a status for so long."""

    status: str
    """``in``"""
    after: timedelta
    event: str


@dataclass(frozen=True, slots=True)
class NamespaceAccess:
    """Who may do what in a namespace; nobody where nothing is said."""

    read: AccessRule = AccessRule()
    list: AccessRule = AccessRule()
    create: AccessRule = AccessRule()
    write: AccessRule = AccessRule()
    delete: AccessRule = AccessRule()
    assign: AccessRule = AccessRule()
    """Who may say whose an object is: hand it over, or create it in another's name."""
    show_owner: AccessRule = AccessRule()
    """Who may know whose an object is, and who changed it, beside those who always may."""


@dataclass(frozen=True, slots=True)
class BeforeHook:
    """A method of a module that may refuse or change a change before it happens."""

    module: str
    method: str
    on_unavailable: str = "deny"
    """``deny`` or ``allow``: what holds while the actions service does not answer."""


@dataclass(frozen=True, slots=True)
class IndexField:
    """One field of an index."""

    name: str
    """``total``, ``customer.email``: a path of members in the data; or ``status``, ``owner``, ``created_at``, ``updated_at``."""
    kind: str
    """``text``, ``number``, ``boolean`` or ``time``."""


@dataclass(frozen=True, slots=True)
class IndexDeclaration:
    """What objects of a namespace are found and sorted by."""

    fields: tuple[IndexField, ...]
    """One to three: objects are sorted by the first, those that are equal in it by the second, and so on."""
    is_unique: bool = False
    """Whether no two objects may be equal in all fields; one that lacks a field is equal to none."""
    statuses: tuple[str, ...] = ()
    """Only objects with one of these are in it (``where``); empty: all."""


@dataclass(frozen=True, slots=True)
class FieldDeclaration:
    """A field of the data that is not everybody's who may read or write the object."""

    name: str
    """``notes``, ``customer.email``: a path of members in the data, as in indexes."""
    read: AccessRule | None = None
    """Who sees it, of those who may read the object; None: all of them."""
    write: AccessRule | None = None
    """Who sets it, of those who may write the object; None: who sees it."""
    is_exported: bool = True
    """Whether it is given out with all that is kept of the object's owner."""


@dataclass(frozen=True, slots=True)
class NamespaceDeclaration:
    """One namespace of state objects."""

    name: str
    module: str
    schema: JsonSchema | None = None
    schema_version: int = 1
    """What objects are written under from now on."""
    upgrade: str = ""
    """The module's method that brings data of older schema versions to this one; empty: there is no older one."""
    initial: str = ""
    """The first status; empty: no machine."""
    statuses: tuple[str, ...] = ()
    """All statuses: initial and every one that a transition names, sorted."""
    access: NamespaceAccess = NamespaceAccess()
    transitions: Mapping[str, TransitionDeclaration] = field(default_factory=dict)
    """By event."""
    timers: tuple[TimerDeclaration, ...] = ()
    effects: tuple[EffectDeclaration, ...] = ()
    before: Mapping[str, BeforeHook] = field(default_factory=dict)
    """By operation: ``created``, ``updated``, ``deleted``, ``assigned`` or the name of an event."""
    indexes: tuple[IndexDeclaration, ...] = ()
    ttl: timedelta | None = None
    """Of an ephemeral namespace: how long an object is kept after its last change. None: the namespace is durable."""
    history: int = 0
    """How many versions of an object are kept with their data, the newest ones; 0: all."""
    deleted_for: timedelta | None = None
    """How long what was deleted keeps its data, so that it can be restored (``retention: { deleted: … }``); None: for good."""
    on_owner_deleted: str = "keep"
    """What becomes of objects when their owner's account is deleted: ``keep``, ``anonymize`` or ``delete``."""
    fields: tuple[FieldDeclaration, ...] = ()
    encrypted: tuple[str, ...] = ()
    """Names of the fields that are stored sealed (``encrypted_fields``)."""
    per_owner: bool = False
    """Whether with a key for each owner, which is destroyed with the owner's account (``encryption: per_owner``)."""
    event_data: tuple[str, ...] = ()
    """What its events carry beside what all do: of :data:`~stylobate.declarations.states_file.EVENT_DATA`."""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class ProjectionDeclaration:
    """A namespace whose objects a method makes of events."""

    name: str
    """Also that of the namespace."""
    module: str
    sources: tuple[str, ...]
    """The namespaces whose events it is made of."""
    method: str
    line: int = 0
    """In states.yaml."""


@dataclass(frozen=True, slots=True)
class ChannelDeclaration:
    """One namespace of realtime channels."""

    name: str
    """Empty for channels without a namespace."""
    module: str
    subscribe: str = ""
    """Who may subscribe: an access rule as text, or ``state:<namespace>``; empty: nobody."""
    publish: str = ""
    """Who may publish from a socket: an access rule as text, or ``subscribers``; empty: nobody."""
    presence: bool = False
    """Whether presence is kept and may be asked for by subscribers."""
    join_leave: bool = False
    """Whether joins and leaves are pushed to subscribers that ask."""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class ModuleDeclaration:
    """One module: what its files say."""

    name: str
    folder: Path
    version: str = ""
    description: str = ""
    dependencies: tuple[str, ...] = ()
    settings_schema: JsonSchema | None = None
    settings_line: int = 0
    """Where they stand in module.yaml."""
    secrets: Mapping[str, int] = field(default_factory=dict)
    """What the module has to be given, with the line of each in module.yaml."""
    database: str = ""
    """``postgresql`` or ``mongodb``: the kind of database that it keeps data of its own in; empty: it has none."""
    database_line: int = 0
    permissions: Mapping[str, str] = field(default_factory=dict)
    """Permissions that the module introduces, with a description each."""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Permissions by role that the module adds: ``{"user": ("orders:create",)}``."""
    actions: tuple[ActionDeclaration, ...] = ()
    namespaces: tuple[NamespaceDeclaration, ...] = ()
    projections: tuple[ProjectionDeclaration, ...] = ()
    channels: tuple[ChannelDeclaration, ...] = ()
    limits: tuple[LimitRule, ...] = ()
    doubtful: frozenset[str] = frozenset()
    """``permissions``, ``namespaces``: what it may have meant to introduce, had it been readable."""


@dataclass(frozen=True, slots=True)
class Declarations:
    """All modules of a deployment, in dependency order."""

    modules: tuple[ModuleDeclaration, ...] = ()
    findings: tuple[Finding, ...] = ()
    """All findings at once; a module with an error finding is left out of :attr:`modules`."""
    digest: str = ""
    """SHA-256 over every declaration file: two services that load the same declarations have the same digest."""
    broken: tuple[ModuleDeclaration, ...] = ()
    """The modules that are left out, as far as they could be read. Nothing of them is served."""
    left_out: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    """Why each module is left out, by its name (its folder where another module has that name, or it says none)."""

    @property
    def namespaces(self) -> dict[str, NamespaceDeclaration]:
        """Every state namespace by name."""
        return {namespace.name: namespace for module in self.modules for namespace in module.namespaces}

    @property
    def actions(self) -> dict[str, ActionDeclaration]:
        """Every action by full name."""
        return {action.name: action for module in self.modules for action in module.actions}

    @property
    def projections(self) -> dict[str, ProjectionDeclaration]:
        """Every projection by name."""
        return {projection.name: projection for module in self.modules for projection in module.projections}

    @property
    def channels(self) -> dict[str, ChannelDeclaration]:
        """Every channel namespace by name."""
        return {channel.name: channel for module in self.modules for channel in module.channels}

    @property
    def limits(self) -> tuple[LimitRule, ...]:
        """Every rule: those of each limits.yaml, and of actions that declare more than numbers."""
        own = (action.limit_rule for action in self.actions.values() if action.limit_rule is not None)
        return (*(rule for module in self.modules for rule in module.limits), *own)

    @property
    def roles(self) -> dict[str, frozenset[str]]:
        """Permissions by role, of all modules together."""
        merged: dict[str, frozenset[str]] = {}
        for module in self.modules:
            for role, permissions in module.roles.items():
                merged[role] = merged.get(role, frozenset()) | frozenset(permissions)
        return merged
