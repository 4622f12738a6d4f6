"""What handlers ask for as ``ctx.may``: a permission of the caller, among those that somebody declares."""

from stylobate.declarations import Declarations
from stylobate.declarations.evaluate import Permissions
from stylobate.identity.platform_permissions import PLATFORM_PERMISSIONS
from stylobate.identity.principal import Principal


class Rights:
    """Decides as access rules do: what a key's or token's scopes do not lend, its holder may not do."""

    def __init__(self, declarations: Declarations, permissions: Permissions) -> None:
        self._permissions = permissions
        self._declared = set(PLATFORM_PERMISSIONS).union(*(module.permissions for module in declarations.modules))

    async def may(self, principal: Principal, permission: str) -> bool:
        """Return whether the principal's subject holds the permission.

        :raises ValueError: no module and not the platform declares it: nobody could ever hold it.
        :raises UnavailableError: auth does not answer and nothing is known of the subject.
        """
        if permission not in self._declared:
            raise ValueError(f"{permission!r} is not a permission that the platform or a module declares")
        return await self._permissions.allowed(principal, permission)
