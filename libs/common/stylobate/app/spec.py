"""What a service tells the launcher about itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from stylobate.config import Settings
from stylobate.database import MigrationSet

if TYPE_CHECKING:
    from stylobate.app.manager import AppManager

ENTRY_POINTS = "stylobate.services"


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
    """A service: its name, its settings and how it is built. Registered under the entry-point group ``stylobate.services``.

    Every command reads it, so the module it stands in imports nothing that the service runs with: see :class:`Imported`.
    """

    name: str
    settings: type[Settings]
    build: "Callable[[AppManager, Any], Awaitable[None]]"
    """``async def build(app, settings)``: the only place that names an adapter."""
    in_memory: Callable[[Any], Awaitable[None]] | None = None
    """Builds the service over memory adapters into a :class:`stylobate.testing.memory_app.MemoryApp`, for tests of modules."""
    migrations: tuple[MigrationSet, ...] = ()
    """The sets its database schema is made of, in order; none: the service has no database."""

    def load(self) -> None:
        """Import what builds it, and with that all it runs with."""
        if isinstance(self.build, Imported):
            self.build.load()


def installed_services() -> dict[str, ServiceSpec]:
    """Return every installed service by name."""
    return {spec.name: spec for spec in _installed()}


@cache
def _installed() -> tuple[ServiceSpec, ...]:
    """Read what every distribution says of itself, once: a forked process finds it done."""
    specs: list[ServiceSpec] = [point.load() for point in entry_points(group=ENTRY_POINTS)]
    return tuple(sorted(specs, key=lambda spec: spec.name))
