"""What of a namespace one caller follows: which objects the watch is about, and which of these may be seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from stylobate.declarations.evaluate import AccessEvaluator, may_own, refusal
from stylobate.declarations.model import AccessRule
from stylobate.declarations.rules import OWNER
from stylobate.identity import Principal
from stylobate.identity.resources import state_namespace, state_object

from stylobate_state.fields import FieldRules
from stylobate_state.filters import Filter
from stylobate_state.model import Change, HistoryEntry
from stylobate_state.people import People
from stylobate_state.watch.told import ALL, Sight, about_of


@dataclass(frozen=True, slots=True)
class View:
    """One watch's question."""

    principal: Principal
    namespace: str
    key: str
    """Empty: all of the namespace."""
    status: str
    """Empty: all."""
    fields: FieldRules
    rules: Sequence[AccessRule]
    """Each must let the caller through: what is told is what a list shows, and the history."""
    shows_people: AccessRule
    """Who is shown whose the objects are, also where they are not the caller's."""
    filters: Sequence[Filter] = ()
    """What the fields of the objects must be, as it was sent; not with a key or a status."""

    @property
    def about(self) -> str:
        """What tells the positions of this watch from those of others."""
        return about_of(self.namespace, self.key, self.status, self.filters)

    def held(self, entry: HistoryEntry) -> bool:
        """Return whether the object was one of those that are followed before it happened."""
        return entry.change is not Change.CREATED and self.status in {"", entry.from_status}

    def holds(self, entry: HistoryEntry) -> bool:
        """Return whether it is one of them since."""
        return entry.change is not Change.DELETED and self.status in {"", entry.to_status}

    async def people(self, access: AccessEvaluator, sight: Sight) -> People:
        """Return whose ids the caller is shown: of objects of its own, all."""
        if sight.is_own:
            return People(are_shown=True, caller=self.principal.subject)
        return await People.seen(access, self.shows_people, self.principal, self.namespace, self.key)

    async def sight(self, access: AccessEvaluator) -> Sight:
        """Return which objects the caller may see now. Raises UnauthenticatedError, PermissionDeniedError: none, ever."""
        principal, found = self.principal, ALL
        everything = state_namespace(self.namespace)
        resource = state_object(self.namespace, self.key) if self.key else everything
        for rule in self.rules:
            if await access.allows(rule, principal, resource=resource):
                continue
            is_owners = OWNER in rule.terms and may_own(principal)
            keys = frozenset() if self.key else (await access.granted(rule, principal, everything)).keys(self.namespace)
            if not is_owners and not keys:
                raise refusal(rule, principal, f"watch {self.namespace}", resource)
            found = Sight(
                is_owners=is_owners and (found.is_all or found.is_owners), keys=keys if found.is_all else keys & found.keys
            )
        if not (found.is_all or found.is_owners or found.keys):
            raise refusal(self.rules[-1], principal, f"watch {self.namespace}", resource)
        return found
