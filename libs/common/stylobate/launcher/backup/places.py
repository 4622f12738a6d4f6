"""The schemas of the platform: of which service or module, in which database."""

from dataclasses import dataclass

from stylobate.config import Sources
from stylobate.database import MigrationSet
from stylobate.database.address import is_mongodb
from stylobate.launcher.backup.manifest import MAIN
from stylobate.launcher.project import services_here
from stylobate.launcher.schemas import databases_apart, module_schemas

FIRST = "actions"
"""Where the positions of hooks stand. Where that is a database of its own, its moment is before the others': hooks then hear
some events twice, and miss none."""


@dataclass(frozen=True, slots=True)
class Place:
    """One schema, as the settings say."""

    service: str
    database: str
    url: str
    use_role: bool
    sets: tuple[MigrationSet, ...]
    keeps_events: bool
    owner_keys: str
    """The table that a backup leaves out; empty: none."""
    module: str = ""
    """Whose data of its own stand there; empty: it is the service's."""

    @property
    def is_on_mongodb(self) -> bool:
        """Whether it is a database of MongoDB."""
        return is_mongodb(self.url)


def places(where: Sources) -> dict[tuple[str, str], Place]:
    """Return every schema by service and database; those whose moment must come first are first.

    A module that keeps data of its own has its name in place of a service's: ``module_carts``.
    """
    found = []
    for name, spec in services_here().items():
        if not spec.migrations:
            continue
        use_role = spec.settings.value("database_roles", where)
        url = spec.settings.value("database_url", where)
        urls = {MAIN: url, **databases_apart(spec, where)}
        found += [
            Place(name, database, url, use_role, spec.migrations, spec.has_event_log, spec.owner_keys)
            for database, url in urls.items()
        ]
        for own in module_schemas(spec, where, of_all=True):
            found.append(Place(own.name, MAIN, own.url, use_role, own.migrations, False, "", own.module))
    return {(place.service, place.database): place for place in sorted(found, key=lambda place: place.service != FIRST)}
