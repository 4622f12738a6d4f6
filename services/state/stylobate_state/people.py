"""Who may know whose an object is, and who changed it: ids of subjects are shown to those only whom they concern."""

from dataclasses import dataclass, replace

from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule
from stylobate.errors import UnavailableError
from stylobate.identity import Principal
from stylobate.identity.resources import state_object

from stylobate_state.model import HistoryEntry, StateRecord


@dataclass(frozen=True, slots=True)
class People:
    """Whose ids one caller is shown in a namespace, of objects that the caller may read."""

    are_shown: bool
    """Whether all are; else the caller's own only."""
    caller: str
    """Empty for an anonymous one."""

    @classmethod
    async def seen(
        cls, access: AccessEvaluator, rule: AccessRule, principal: Principal, namespace: str, key: str = ""
    ) -> "People":
        """Return them by the namespace's ``shows_people``. What cannot be told at the moment is hidden.

        :param key: of the object in question, on which something may be granted; empty: of all.
        """
        try:
            return cls(await access.allows(rule, principal, resource=state_object(namespace, key)), principal.subject)
        except UnavailableError:
            return cls(are_shown=False, caller=principal.subject)

    def knows(self, subject: str) -> bool:
        """Return whether the caller may be told of what this subject did."""
        return self.are_shown or subject == self.caller

    def shows(self, state: StateRecord) -> StateRecord:
        """Return the object, without its owner where that is hidden."""
        return state if self.are_shown or state.owner == self.caller else replace(state, owner="")

    def shows_entry(self, entry: HistoryEntry) -> HistoryEntry:
        """Return what happened, without the ids that are hidden."""
        if self.are_shown:
            return entry
        return replace(
            entry,
            actor=self._shows(entry.actor),
            owner=self._shows(entry.owner),
            previous_owner=self._shows(entry.previous_owner),
        )

    def _shows(self, subject: str) -> str:
        return subject if subject == self.caller else ""
