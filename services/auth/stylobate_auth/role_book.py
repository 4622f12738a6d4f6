"""What roles mean: those of modules and of the database together, with what they inherit."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from stylobate.identity import grants

DATABASE, BUILTIN, GRANT = "database", "builtin", "grant"
"""Where a permission stands; any other word is a module's name."""


@dataclass(frozen=True, slots=True)
class DefinedRole:
    """A role in the database."""

    tenant: str
    name: str
    description: str
    permissions: tuple[str, ...]
    """Sorted."""
    inherits: tuple[str, ...]
    """Roles whose permissions it has as well; sorted."""
    changed_at: datetime | None = None
    """None: it is not kept yet."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a subject may do something."""

    role: str
    """That it holds; empty for a grant of its own."""
    through: tuple[str, ...]
    """The roles that this one inherits it from, in order; none: it has it itself."""
    permission: str
    """That covers what was asked for."""
    source: str
    """Where that stands: a module, ``database`` or ``builtin``; ``grant``."""
    resource: str = ""
    """Of a grant, what it is for."""


@dataclass(frozen=True, slots=True)
class RoleBook:
    """All roles of a tenant at a moment.

    :param declared: by role, each permission with where it stands.
    :param defined: those in the database by name.
    """

    declared: Mapping[str, Mapping[str, str]]
    defined: Mapping[str, DefinedRole] = field(default_factory=dict)
    _permissions: dict[str, frozenset[str]] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        """Return whether there is a role of the name."""
        return name in self.declared or name in self.defined

    def names(self) -> list[str]:
        """Return all roles, sorted."""
        return sorted({*self.declared, *self.defined})

    def paths(self, role: str) -> Iterator[tuple[str, ...]]:
        """Yield the role and each that it inherits from, once, each with the way there; the nearest first."""
        seen, ways = {role}, list[tuple[str, ...]]([(role,)])
        for way in ways:
            yield way
            found = self.defined.get(way[-1])
            for name in found.inherits if found is not None else ():
                if name not in seen:
                    seen.add(name)
                    ways.append((*way, name))

    def permissions(self, role: str) -> frozenset[str]:
        """Return all that a role permits; of one that is not there nothing."""
        known = self._permissions.get(role)
        if known is None:
            known = frozenset(permission for way in self.paths(role) for permission in self._own(way[-1]))
            if role in self:
                self._permissions[role] = known
        return known

    def permits(self, roles: Iterable[str], permission: str) -> bool:
        """Return whether one of the roles does."""
        return any(grants(self.permissions(role), permission) for role in roles)

    def reasons(self, roles: Iterable[str], permission: str) -> list[Reason]:
        """Return every permission of the roles that covers the one asked for."""
        return [
            Reason(role, way[1:], held, source)
            for role in roles
            for way in self.paths(role)
            for held, source in sorted(self._own(way[-1]).items())
            if grants((held,), permission)
        ]

    def that_permit(self, permission: str) -> list[str]:
        """Return the roles that permit something, those that permit the least first."""
        found = [(role, self.permissions(role)) for role in self.names()]
        found = [(role, held) for role, held in found if grants(held, permission)]
        return [role for role, _ in sorted(found, key=lambda one: ("*" in one[1], len(one[1]), one[0]))]

    def inherits(self, role: str, other: str) -> bool:
        """Return whether a role is, or inherits from, the other one."""
        return any(way[-1] == other for way in self.paths(role))

    def _own(self, role: str) -> Mapping[str, str]:
        found = self.defined.get(role)
        of_database = {} if found is None else dict.fromkeys(found.permissions, DATABASE)
        return of_database | dict(self.declared.get(role, {}))


def is_known(permission: str, known: Collection[str]) -> bool:
    """Return whether a permission is one of these, or an area that one of them lies in, or everything."""
    area, _, last = permission.rpartition(":")
    return permission in known or permission == "*" or (last == "*" and any(name.startswith(f"{area}:") for name in known))
