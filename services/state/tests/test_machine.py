"""The machine as a machine: whatever is asked of it, in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.declarations.model import TransitionDeclaration
from stylobate_state.errors import StateEventUnknownError, StateTransitionNotAllowedError
from stylobate_state.machine import Machine

STATUSES = ["a", "b", "c", "d"]
TRANSITIONS = st.dictionaries(
    st.sampled_from(["go", "stop", "turn", "end"]),
    st.tuples(st.lists(st.sampled_from(STATUSES), min_size=1, unique=True), st.sampled_from(STATUSES)),
)


def machine_of(transitions):
    """Return the machine of ``{event: (from, to)}``."""
    declared = {event: TransitionDeclaration(event, tuple(froms), to) for event, (froms, to) in transitions.items()}
    return Machine("things", "a", declared)


@given(TRANSITIONS, st.lists(st.sampled_from(["go", "stop", "turn", "end", "none"]), max_size=12))
def test_a_walk_stays_on_declared_ways(transitions, events):
    """An event moves exactly where it is declared from the present status; any other is refused and names the possible."""
    machine, status = machine_of(transitions), "a"
    for event in events:
        allowed = machine.allowed(status)
        assert set(allowed) == {name for name, (froms, _) in transitions.items() if status in froms}
        if event not in transitions:
            with pytest.raises(StateEventUnknownError):
                machine.fire(status, event)
        elif event in allowed:
            status = machine.fire(status, event)
            assert status == transitions[event][1]
        else:
            with pytest.raises(StateTransitionNotAllowedError) as refused:
                machine.fire(status, event)
            assert refused.value.metadata == {"status": status, "event": event, "allowed": ",".join(allowed)}


def test_without_a_machine_nothing_can_be_fired():
    """A namespace without transitions knows no event."""
    with pytest.raises(StateEventUnknownError) as unknown:
        Machine("notes").fire("", "go")
    assert "declares no transitions" in unknown.value.detail
