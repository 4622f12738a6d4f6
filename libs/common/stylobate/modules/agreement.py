"""Whether a declared schema and a handler's annotation speak of the same values.

Where both are there, the schema judges what comes in and goes out, and the annotation says what the handler works with. What the
one lets through and the other can never take fails at every call. Only what is certain is told: plain types, and members of
objects that name them. ``anyOf`` and its like say nothing here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stylobate.declarations.compiled import resolved
from stylobate.declarations.model import JsonSchema
from stylobate.json_pointer import pointer

_NUMBERS = {"integer", "number"}
_DEEPEST = 8
"""Members in members that are compared: schemas may refer to themselves."""
_Path = tuple[str, ...]
_Side = tuple[Any, JsonSchema]
"""A schema, and the document that its references lead into."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What of one side the other can never take."""

    pointer: str
    """Where, in the value that passes from the one to the other."""
    problem: str
    """``asked``: it must be there and never is. ``unread``: it may be there and is nothing to the other side. Else: the types."""


ASKED, UNREAD = "asked", "unread"


def disagreements(writer: JsonSchema, reader: JsonSchema, *, is_whole: bool) -> Iterator[Disagreement]:
    """Yield what the reader can never take of what the writer gives.

    :param is_whole: whether the writer gives no other members than it names, even where its schema leaves that open.
    """
    yield from _between((writer, writer), (reader, reader), (), is_whole=is_whole)


def _between(writer: _Side, reader: _Side, path: _Path, *, is_whole: bool) -> Iterator[Disagreement]:
    given, taken = resolved(*writer), resolved(*reader)
    kinds = given.get("type"), taken.get("type")
    if isinstance(kinds[0], str) and isinstance(kinds[1], str) and kinds[0] != kinds[1] and not _NUMBERS.issuperset(kinds):
        yield Disagreement(pointer(path), f"{kinds[0]} and {kinds[1]}")
        return
    names, known = given.get("properties"), taken.get("properties")
    pairs: dict[str, tuple[Any, Any]] = {}
    if isinstance(names, dict) and isinstance(known, dict):
        yield from (Disagreement(pointer([*path, name]), problem) for name, problem in _members(given, taken, is_whole=is_whole))
        pairs = {name: (names[name], known[name]) for name in names if name in known}
    if isinstance(given.get("items"), dict) and isinstance(taken.get("items"), dict):
        pairs["0"] = given["items"], taken["items"]
    for name, (one, other) in pairs.items() if len(path) < _DEEPEST else ():
        yield from _between((one, writer[1]), (other, reader[1]), (*path, name), is_whole=is_whole)


def _members(given: JsonSchema, taken: JsonSchema, *, is_whole: bool) -> Iterator[tuple[str, str]]:
    """Yield the members of an object that are asked for and not given, and those that are given and not taken."""
    names, known = given["properties"], taken["properties"]
    if given.get("additionalProperties", not is_whole) is False and "patternProperties" not in given:
        yield from ((name, ASKED) for name in taken.get("required", ()) if name not in names)
    if taken.get("additionalProperties") is False and "patternProperties" not in taken:
        yield from ((name, UNREAD) for name in names if name not in known)
