"""What of a machine is probably not meant: events that nobody fires, and statuses in which objects are caught.

That a status cannot be reached is an error of its own (:mod:`.states_file`). A status that nothing leaves is none: that is where
objects end.
"""

from collections.abc import Iterable, Mapping

from stylobate.declarations.model import AccessRule, TimerDeclaration, TransitionDeclaration
from stylobate.declarations.section import Section


def check_meaning(
    namespace: Section,
    initial: str,
    transitions: Mapping[str, TransitionDeclaration],
    timers: Iterable[TimerDeclaration],
    write: AccessRule,
) -> None:
    """Warn of what works and makes no sense, each at its line."""
    lines = {event: line for event, line, _ in namespace.entries("transitions")}
    fired = {timer.event for timer in timers}
    for event, transition in transitions.items():
        rule = transition.access if transition.access is not None else write
        if not rule.terms and event not in fired and ("access" in namespace or transition.access is not None):
            said = "its own `access`" if transition.access is not None else "`write`, which holds for it,"
            text = f"nobody can fire `{event}`: {said} lets nobody in, and no timer fires it ({namespace.where})"
            namespace.report.warning(lines[event], text)
    for status in caught(initial, transitions):
        into = next((event for event, item in transitions.items() if item.target == status), "")
        text = f"an object in `{status}` never comes to an end, though others do ({namespace.where})"
        namespace.report.warning(lines.get(into, namespace.line), text)


def finals(transitions: Mapping[str, TransitionDeclaration]) -> list[str]:
    """Return the statuses that no event leaves, sorted."""
    sources = {status for item in transitions.values() for status in item.sources}
    return sorted({item.target for item in transitions.values()} - sources)


def caught(initial: str, transitions: Mapping[str, TransitionDeclaration]) -> list[str]:
    """Return the statuses from which no final one can be reached, sorted; none where the machine has no final status."""
    ends = set(finals(transitions))
    if not ends:
        return []
    while more := {status for item in transitions.values() if item.target in ends for status in item.sources} - ends:
        ends |= more
    statuses = {initial, *(status for item in transitions.values() for status in (*item.sources, item.target))}
    return sorted(statuses - ends - {""})
