"""Who may do what with an object: access rules decided for a caller."""

from typing import Protocol

from stylobate.declarations.model import AccessRule
from stylobate.errors import PermissionDeniedError, UnauthenticatedError
from stylobate.identity import Principal

_ACTIONS = "actions"


class Permissions(Protocol):
    """Decides single permissions; :class:`stylobate.identity.Access` does."""

    async def allowed(self, principal: Principal, permission: str) -> bool:
        """Return whether the principal's subject holds the permission."""
        ...


class Rights:
    """Decides access rules. Any term is enough; terms that cost a question to auth come last."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions

    async def allows(self, rule: AccessRule, principal: Principal, owner: str | None) -> bool:
        """Return whether the rule lets the principal at an object of this owner; None: owned by nobody yet."""
        return self._is_owner(rule, principal, owner) or await self.allows_any(rule, principal)

    async def allows_any(self, rule: AccessRule, principal: Principal) -> bool:
        """Return whether the rule lets the principal at every object, whoever owns it."""
        terms = rule.terms
        if "public" in terms or ("authenticated" in terms and not principal.is_anonymous):
            return True
        if _ACTIONS in terms and principal.via == _ACTIONS:
            return True
        for permission in rule.permissions:
            if await self._permissions.allowed(principal, permission):
                return True
        return False

    async def require(self, rule: AccessRule, principal: Principal, owner: str | None, what: str) -> None:
        """Return when the rule lets the principal at an object of this owner.

        :param what: completes "You may not …".
        :raises UnauthenticatedError: nobody is known.
        :raises PermissionDeniedError: ``metadata["permission"]`` names the first permission that would do, if one would.
        """
        if not await self.allows(rule, principal, owner):
            raise refusal(rule, principal, what)

    async def require_possible(self, rule: AccessRule, principal: Principal, what: str) -> None:
        """Return when the rule could let the principal at some object: for answers about what does not exist.

        Who could never be let in learns nothing about which keys exist; who could own an object may be told that it does not.
        Raises as :meth:`require`.
        """
        if not await self.allows(rule, principal, principal.subject):
            raise refusal(rule, principal, what)

    @staticmethod
    def _is_owner(rule: AccessRule, principal: Principal, owner: str | None) -> bool:
        return bool(owner) and "owner" in rule.terms and not principal.is_anonymous and principal.subject == owner


def refusal(rule: AccessRule, principal: Principal, what: str) -> UnauthenticatedError | PermissionDeniedError:
    """Return the error for a caller that the rule does not let through."""
    if principal.is_anonymous:
        return UnauthenticatedError(f"You may not {what} without logging in.")
    needed = f" It takes: {rule}." if rule.terms else " Nobody may."
    metadata = {"permission": rule.permissions[0]} if rule.permissions else {}
    return PermissionDeniedError(f"You may not {what}.{needed}", metadata=metadata)
