"""What one JSON Schema takes that another one refuses: how a change of a schema leaves stored data behind.

Told is what is certain, and what is not compared is told as such. Silence therefore means that whatever the old schema took, the
new one takes too; but for members that an open object had without naming them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stylobate.declarations.compiled import resolved
from stylobate.declarations.model import JsonSchema
from stylobate.json_pointer import pointer

_FLOORS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_CEILINGS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
_EXACT = (
    "allOf", "contains", "dependentRequired", "dependentSchemas", "else", "format", "if", "multipleOf", "not", "oneOf", "pattern",
    "patternProperties", "prefixItems", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_ANY: JsonSchema = {}
_Path = tuple[str, ...]
_Seen = set[tuple[int, int]]
"""The pairs of schemas that are compared already: schemas may refer to themselves. By identity: they stay where they are."""
_Side = tuple[Any, JsonSchema]
"""A schema, and the document that its references lead into."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Something that is not taken any more."""

    pointer: str
    """The place in the data; `*` stands for each item of an array."""
    problem: str
    is_certain: bool = True
    """False: it is another than before, and not compared any further."""


def narrowings(old: JsonSchema | None, new: JsonSchema | None) -> Iterator[Narrowing]:
    """Yield what data may have by the old schema and not by the new one; None takes everything."""
    before: _Side = (True, _ANY) if old is None else (old, old)
    after: _Side = (True, _ANY) if new is None else (new, new)
    yield from _between(before, after, (), set())


def _between(old: _Side, new: _Side, path: _Path, seen: _Seen) -> Iterator[Narrowing]:
    if new[0] is True or old[0] is False:
        return
    if new[0] is False:
        yield Narrowing(pointer(path), "is not taken any more")
        return
    before, after = _ANY if old[0] is True else resolved(*old), resolved(*new)
    if (id(before), id(after)) in seen:
        return
    seen.add((id(before), id(after)))
    for problem in (*_of_kind(before, after), *_of_bounds(before, after)):
        yield Narrowing(pointer(path), problem)
    for keyword in _EXACT:
        if keyword in after and before.get(keyword) != after[keyword]:
            yield Narrowing(pointer(path), f"has another `{keyword}`", is_certain=keyword in {"format", "pattern", "multipleOf"})
    if "anyOf" in after and not _is_among(before.get("anyOf"), after["anyOf"]):
        yield Narrowing(pointer(path), "has another `anyOf`", is_certain=False)
    yield from _members((before, old[1]), (after, new[1]), path, seen)
    if "items" in after:
        yield from _between((before.get("items", True), old[1]), (after["items"], new[1]), (*path, "*"), seen)


def _of_kind(before: JsonSchema, after: JsonSchema) -> Iterator[str]:
    kinds, allowed = _kinds(before), _kinds(after)
    if allowed and not kinds:
        yield f"is {' or '.join(sorted(allowed))} now"
    elif allowed and (
        lost := {kind for kind in kinds if kind not in allowed and not (kind == "integer" and "number" in allowed)}
    ):
        yield f"is not {' or '.join(sorted(lost))} any more"
    values, taken = _values(before), _values(after)
    if taken is not None and values is None:
        yield f"takes only {', '.join(taken)} now"
    elif taken is not None and values is not None and (gone := [value for value in values if value not in taken]):
        yield f"does not take {', '.join(gone)} any more"


def _of_bounds(before: JsonSchema, after: JsonSchema) -> Iterator[str]:
    for keyword in _FLOORS:
        if keyword in after and (keyword not in before or after[keyword] > before[keyword]):
            yield f"has `{keyword}: {after[keyword]}` now"
    for keyword in _CEILINGS:
        if keyword in after and (keyword not in before or after[keyword] < before[keyword]):
            yield f"has `{keyword}: {after[keyword]}` now"
    if after.get("uniqueItems") and not before.get("uniqueItems"):
        yield "has `uniqueItems` now"


def _members(old: _Side, new: _Side, path: _Path, seen: _Seen) -> Iterator[Narrowing]:
    before, after = old[0], new[0]
    names, known = before.get("properties", {}), after.get("properties", {})
    for name in after.get("required", ()):
        if name not in before.get("required", ()):
            yield Narrowing(pointer([*path, name]), "is required now")
    rest, others = before.get("additionalProperties", True), after.get("additionalProperties", True)
    if others is False and rest is not False:
        yield Narrowing(pointer(path), "takes no members any more that are not named")
    elif others is not True and others is not False:
        yield from _between((rest, old[1]), (others, new[1]), (*path, "*"), seen)
    for name, member in names.items():
        if name in known:
            yield from _between((member, old[1]), (known[name], new[1]), (*path, name), seen)
        elif others is False and "patternProperties" not in after:
            yield Narrowing(pointer([*path, name]), "is not known any more")
        elif isinstance(others, dict):
            yield from _between((member, old[1]), (others, new[1]), (*path, name), seen)


def _kinds(schema: JsonSchema) -> set[str]:
    kinds = schema.get("type", ())
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _values(schema: JsonSchema) -> list[str] | None:
    """Return the values that are taken, as JSON; None: not only certain ones."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else [json.dumps(value, sort_keys=True) for value in values]


def _is_among(before: Any, after: list[Any]) -> bool:
    return isinstance(before, list) and all(option in after for option in before)
