"""What handlers ask for as ``ctx.may`` and ``ctx.grants``: a permission of the caller, among those that somebody declares."""

from collections.abc import Sequence

from stylobate.declarations import Declarations
from stylobate.declarations.evaluate import Permissions
from stylobate.identity.platform_permissions import PLATFORM_PERMISSIONS
from stylobate.identity.principal import Principal
from stylobate.identity.resources import resource_fault


class Rights:
    """Decides as access rules do: what a key's or token's scopes do not lend, its holder may not do."""

    def __init__(self, declarations: Declarations, permissions: Permissions) -> None:
        self._permissions = permissions
        self._declared = set(PLATFORM_PERMISSIONS).union(*(module.permissions for module in declarations.modules))

    async def may(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Return whether the principal's subject holds the permission, everywhere or by a grant on the resource.

        :raises ValueError: no module and not the platform declares it, so nobody could hold it; or there can be no such resource.
        :raises UnavailableError: auth does not answer and nothing is known of the subject.
        """
        self._check(permission, resource)
        return await self._permissions.allowed(principal, permission, resource)

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Sequence[str]:
        """Return on what the principal's subject is granted the permission, sorted: only what lies in the prefix; empty: all.

        Raises as :meth:`may`, and GrantedTooManyError.
        """
        self._check(permission, under)
        found = await self._permissions.granted(principal, permission, under)
        return sorted(name for name in found.names if name.startswith(under))

    def _check(self, permission: str, resource: str) -> None:
        if permission not in self._declared:
            raise ValueError(f"{permission!r} is not a permission that the platform or a module declares")
        if resource and (fault := resource_fault(resource)):
            raise ValueError(f"{resource!r} {fault}")
