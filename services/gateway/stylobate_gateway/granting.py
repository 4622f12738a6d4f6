"""In development a refusal for a missing permission says the command that grants it. Elsewhere nobody is told how to get in."""

import shlex
from collections.abc import Collection, Mapping

from stylobate.errors import PermissionDeniedError, StylobateError
from stylobate.identity import Principal, PrincipalKind, grants

COMMAND = "command"
"""The member of the metadata."""
_ADMIN = "admin"


class GrantingCommands:
    """Knows which roles the modules declare.

    :param roles: permissions by role.
    """

    def __init__(self, roles: Mapping[str, Collection[str]]) -> None:
        self._roles = sorted(roles.items(), key=_reach)

    def tell(self, error: StylobateError, principal: Principal) -> None:
        """Enter the command into the error, where there is one that lets the principal in."""
        if error.reason != PermissionDeniedError.reason or principal.kind is not PrincipalKind.USER:
            return
        permission, resource = error.metadata.get("permission", ""), error.metadata.get("resource", "")
        if ":" not in permission or not principal.lends(permission):  # what a key's scopes do not cover no role gives it
            return
        if resource:
            command = ["access", "grant", principal.subject, permission, resource]
        else:
            role = next((role for role, held in self._roles if grants(held, permission)), _ADMIN)
            command = ["users", "roles", "add", principal.subject, role]
        error.metadata = {**error.metadata, COMMAND: shlex.join(["stylobate", *command])}


def _reach(role: tuple[str, Collection[str]]) -> tuple[bool, bool, int, str]:
    """Return how much a role permits: who needs one permission is given no more than must be."""
    name, held = role
    return "*" in held, any(permission.endswith(":*") for permission in held), len(held), name
