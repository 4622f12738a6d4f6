"""Who somebody is, for handlers and hooks: as far as the one may know in whose name they ask."""

from collections.abc import Sequence
from dataclasses import dataclass

from stylobate.errors import InvalidInputError, Violation
from stylobate.identity import Principal

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.model import Account
from stylobate_auth.store.port import AuthStore
from stylobate_auth.user_manager import READ

MOST = 500


@dataclass(frozen=True, slots=True)
class Profile:
    """An account, and whether more than its id may be told."""

    account: Account
    is_told: bool


class UserDirectory:
    """Looks accounts of people up, many at a time."""

    def __init__(self, store: AuthStore, access: AccessManager) -> None:
        self._store = store
        self._access = access

    async def profiles(self, principal: Principal, ids: Sequence[str]) -> list[Profile]:
        """Return those that there are, each once, in the order in which they were asked for.

        :raises InvalidInputError: too many.
        """
        if len(ids) > MOST:
            raise InvalidInputError(violations=[Violation("/ids", f"at most {MOST} at once")])
        found = {account.id: account for account in await self._store.users_by_id(principal.tenant, ids)}
        knows_all = bool(found) and await self._access.holds(principal, READ)
        own = "" if principal.is_anonymous or principal.is_key else principal.subject
        return [Profile(found[one], knows_all or one == own) for one in dict.fromkeys(ids) if one in found]
