"""The status machine of a namespace: which event leads from where to where."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stylobate.declarations.model import TransitionDeclaration

from stylobate_state.errors import StateEventUnknownError, StateTransitionNotAllowedError


@dataclass(frozen=True, slots=True)
class Machine:
    """Statuses and the events between them. Without an initial status there is no machine: the status is empty."""

    namespace: str
    initial: str = ""
    transitions: Mapping[str, TransitionDeclaration] = field(default_factory=dict)

    def transition(self, event: str) -> TransitionDeclaration:
        """Return the declaration of an event. Raises StateEventUnknownError."""
        try:
            return self.transitions[event]
        except KeyError:
            raise StateEventUnknownError(self.namespace, event, tuple(self.transitions)) from None

    def allowed(self, status: str) -> tuple[str, ...]:
        """Return the events that may be fired from the status, as declared."""
        return tuple(event for event, transition in self.transitions.items() if status in transition.sources)

    def fire(self, status: str, event: str) -> str:
        """Return the status that the event leads to.

        :raises StateEventUnknownError: nothing declares the event.
        :raises StateTransitionNotAllowedError: not from this status.
        """
        transition = self.transitions.get(event) or self.transition(event)
        if status not in transition.sources:
            raise StateTransitionNotAllowedError(event=event, status=status, allowed=self.allowed(status))
        return transition.target
