"""A namespace's machine as a diagram, in Mermaid's ``stateDiagram-v2``."""

import re
from collections.abc import Iterator
from datetime import timedelta

from stylobate.declarations.machine_check import finals
from stylobate.declarations.model import NamespaceDeclaration

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORDS = frozenset({"as", "class", "classdef", "default", "direction", "end", "note", "state", "style"})
_UNITS = ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "m"), (timedelta(seconds=1), "s"))
_ESCAPED = {"#": "#35;", ";": "#59;", ":": "#58;", '"': "#quot;", "<": "#lt;", ">": "#gt;"}


def diagram(namespace: NamespaceDeclaration) -> str:
    """Return the diagram; a namespace without a machine gives one without statuses."""
    return "\n".join(["stateDiagram-v2", *(f"    {line}" for line in _lines(namespace))]) + "\n"


def _lines(namespace: NamespaceDeclaration) -> Iterator[str]:
    names = _names(namespace.statuses)
    for status, name in names.items():
        if name != status:
            yield f'state "{status}" as {name}'
    if namespace.initial:
        yield f"[*] --> {names[namespace.initial]}"
    for event, item in namespace.transitions.items():
        guard = f" [{_text(item.guard)}]" if item.guard else ""
        for source in item.sources:
            yield f"{names[source]} --> {names[item.target]} : {event}{guard}"
    for timer in namespace.timers:
        target = namespace.transitions[timer.event].target
        yield f"{names[timer.status]} --> {names[target]} : {timer.event} after {_duration(timer.after)}"
    for status in finals(namespace.transitions):
        yield f"{names[status]} --> [*]"


def _names(statuses: tuple[str, ...]) -> dict[str, str]:
    """Return what each status is called in the diagram: itself, where Mermaid takes that for a name."""
    names: dict[str, str] = {}
    for status in statuses:
        name = status
        if not _PLAIN.fullmatch(name) or name.lower() in _WORDS:
            name = re.sub(r"[^A-Za-z0-9_]", "_", name) + "_"
            while name in statuses or name in names.values():
                name += "_"
        names[status] = name
    return names


def _duration(time: timedelta) -> str:
    """Return it as states.yaml says it."""
    unit, name = next((unit for unit in _UNITS if not time % unit[0]), (timedelta(milliseconds=1), "ms"))
    return f"{time // unit}{name}"


def _text(text: str) -> str:
    return "".join(_ESCAPED.get(character, character) for character in " ".join(text.split()))
