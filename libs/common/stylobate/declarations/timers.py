"""Timers of a namespace: ``timers`` in states.yaml."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from stylobate.declarations.model import TimerDeclaration, TransitionDeclaration
from stylobate.declarations.rules import parse_duration
from stylobate.declarations.section import Section, did_you_mean

KEYS = ("in", "after", "event")
LONGEST = timedelta(days=366)
_parse = partial(parse_duration, longest=LONGEST)


def read_timers(namespace: Section, transitions: Mapping[str, TransitionDeclaration]) -> tuple[TimerDeclaration, ...]:
    """Read the timers; what is wrong stands in the report."""
    node = namespace.node("timers")
    if node is None or node.value is None:
        return ()
    if not isinstance(node.value, list):
        namespace.error("timers", "`timers` must be a list of `{ in: status, after: 15m, event: name }`")
        return ()
    timers: list[TimerDeclaration] = []
    for item in node.value:
        timer = Section(item, namespace.report, f"a timer of {namespace.where}", KEYS)
        status, event = timer.text("in", required=True), timer.text("event", required=True)
        after = timer.parsed("after", _parse, required=True, unit="s")
        if event and event not in transitions:
            timer.error("event", f"no transition is called `{event}`{did_you_mean(event, transitions)}")
        elif event and status and status not in transitions[event].sources:
            timer.error("in", f"`{event}` does not leave the status `{status}`{did_you_mean(status, transitions[event].sources)}")
        elif any((other.status, other.event) == (status, event) for other in timers):
            timer.error("event", f"`{event}` has a timer in `{status}` already")
        elif event and status and after is not None:
            timers.append(TimerDeclaration(status, after, event))
    return tuple(timers)
