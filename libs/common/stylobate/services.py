"""What a service says of itself: all that the launcher, the others it calls and the deployment need to know.

Nothing in this library lists services: whatever is installed under the entry-point group ``stylobate.services`` is one.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from stylobate.config import Settings
from stylobate.database import MigrationSet
from stylobate.service_rights import OPERATOR, ServiceRights

ENTRY_POINTS = "stylobate.services"
_OUTBOX = "outbox"


@dataclass(frozen=True, slots=True)
class Imported:
    """A function, named as ``package.module:function``, that is imported when it is called: commands start without it."""

    name: str

    def load(self) -> Callable[..., Awaitable[None]]:
        """Import it. Raises ImportError, AttributeError."""
        found: Callable[..., Awaitable[None]] = resolve_name(self.name)
        return found

    def __call__(self, *arguments: Any) -> Awaitable[None]:
        """Call it."""
        return self.load()(*arguments)


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service. Registered under the entry-point group ``stylobate.services``.

    Every command reads it, so the module it stands in imports nothing that the service runs with: see :class:`Imported`.
    """

    name: str
    settings: type[Settings]
    build: Callable[[Any, Any], Awaitable[None]]
    """``async def build(app, settings)``: the only place that names an adapter. ``app`` is an AppManager."""
    in_memory: Callable[[Any], Awaitable[None]] | None = None
    """Builds the service over memory adapters into a :class:`stylobate.app.memory_app.MemoryApp`, for tests of modules."""
    migrations: tuple[MigrationSet, ...] = ()
    """The sets its database schema is made of, in order; none: the service has no database."""
    owner_keys: str = ""
    """The table of keys that are destroyed with an account, by ids that stand first: no backup holds it. Empty: there is none."""
    apart: str = ""
    """The setting that names its further databases, each with a log of its own; empty: it has one database."""
    module_databases: str = ""
    """The setting that names what modules keep data of their own in; empty: it does not run modules."""
    grpc_port: int = 0
    """Its gRPC port where each service has a process; 0: the next free one behind those of the others."""
    http: tuple[str, ...] = ()
    """Prefixes of the paths that it serves over HTTP or WebSocket; ``/`` is what no other service serves. None: no HTTP.

    A service with HTTP is a door: clients come to it, it alone knows their addresses and is believed about them.
    """
    http_port: int = 0
    """Its HTTP port where each service has a process; 0: the next free one."""
    events: tuple[str, ...] = ()
    """The types of events in its log. ``*`` stands for any name that modules declare: ``state.*.created``."""
    audits: bool = False
    """Whether it keeps audit records, and serves them."""
    needs: tuple[str, ...] = ()
    """The services whose channels it opens, beside what every process asks of auth and ratelimit."""
    calls: ServiceRights = field(default_factory=ServiceRights)
    """The methods that it calls there: the others refuse it everything else."""

    @property
    def has_event_log(self) -> bool:
        """Whether its schema keeps a log of events."""
        return any(part.name == _OUTBOX for part in self.migrations)

    def load(self) -> None:
        """Import what builds it, and with that all it runs with."""
        if isinstance(self.build, Imported):
            self.build.load()


def installed_services() -> dict[str, ServiceSpec]:
    """Return every installed service by name; those that need no other come first."""
    return {spec.name: spec for spec in _installed()}


def key_holders() -> tuple[str, ...]:
    """Return everyone who signs service tokens: the services and the operator's command."""
    return (*installed_services(), OPERATOR)


def event_sources() -> tuple[str, ...]:
    """Return the services that publish events."""
    return tuple(spec.name for spec in _installed() if spec.events)


def audited() -> tuple[str, ...]:
    """Return the services that keep audit records. State's history is a record of its own."""
    return tuple(spec.name for spec in _installed() if spec.audits)


def served_prefixes() -> tuple[str, ...]:
    """Return the prefixes of paths that a service keeps to itself."""
    return tuple(prefix for spec in _installed() for prefix in spec.http if prefix != "/")


@cache
def _installed() -> tuple[ServiceSpec, ...]:
    """Read what every distribution says of itself, once: a forked process finds it done."""
    specs: list[ServiceSpec] = [point.load() for point in entry_points(group=ENTRY_POINTS)]
    return in_order({spec.name: spec for spec in sorted(specs, key=lambda spec: spec.name)})


def in_order(specs: Mapping[str, ServiceSpec]) -> tuple[ServiceSpec, ...]:
    """Return the services so that each stands behind those it needs, as far as they do not need each other."""
    ordered: dict[str, ServiceSpec] = {}

    def visit(names: Iterable[str], above: frozenset[str]) -> None:
        for name in names:
            if name in specs and name not in ordered and name not in above:
                visit(specs[name].needs, above | {name})
                ordered[name] = specs[name]

    visit(specs, frozenset())
    return tuple(ordered.values())
