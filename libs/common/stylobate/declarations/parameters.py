"""The fields of an action's input that stand in a URL: their names, their types, and what cannot be sent like that.

A path or a query is text. Each field therefore has one type that the text is read as; what a URL cannot say (objects, lists of
lists, a choice of types) is refused when the module is loaded, not when somebody calls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from stylobate.declarations.compiled import resolved
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.route import BODILESS, Route

_TYPES = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", type(None): "null",
}  # fmt: skip
_MOST_STEPS = 20


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field."""

    name: str
    type: str
    """``string``, ``integer``, ``number`` or ``boolean``; of a list that of its items."""
    is_list: bool
    """Whether the key may be repeated."""
    is_required: bool
    schema: Any
    """As it stands in the input's schema, with references into its ``$defs``."""
    default: Any = None
    """None: there is none, or it is null, which says the same."""


@dataclass(frozen=True, slots=True)
class RouteInput:
    """How the input of an action is put together from a request for its route."""

    path: tuple[Parameter, ...]
    """In the order of the path."""
    query: Mapping[str, Parameter]
    """By name; empty where the input is a body."""
    has_body: bool
    is_object: bool
    """Whether the input is an object made of these fields; False: there is none, or it is the body."""

    @classmethod
    def of(cls, route: Route, schema: JsonSchema | None) -> Self:
        """Return it. Raises ValueError with a sentence for the author where a request could not say the input."""
        has_body = route.method not in BODILESS
        if not route.parameters and (has_body or schema is None):
            return cls((), {}, has_body, is_object=False)
        whole = resolved(schema or {}, schema or {})
        fields = whole.get("properties")
        if not isinstance(fields, dict):
            fields = {}
            if not has_body and schema is not None and not _is_nothing(whole):
                raise ValueError(f"the input of a {route.method} stands in the URL: it must be an object with `properties`")
        required = set(whole.get("required", ()))
        for name in route.names:
            if name not in fields:
                raise ValueError(f"`{{{name}}}` is not a field of the input")
        path = tuple(_parameter(name, fields[name], schema or {}, is_required=True) for name in route.names)
        for parameter in path:
            if parameter.is_list:
                raise ValueError(f"`{{{parameter.name}}}` is a list, which a path cannot hold")
        if has_body:
            return cls(path, {}, has_body, is_object=True)
        if missing := sorted(required - fields.keys()):
            raise ValueError(f"the input needs `{missing[0]}`, which is not among its `properties` and so cannot be sent")
        query = {
            name: _parameter(name, field, schema or {}, is_required=name in required)
            for name, field in fields.items()
            if name not in route.names
        }
        return cls(path, query, has_body, is_object=True)


def _is_nothing(schema: Mapping[str, Any]) -> bool:
    """Whether the schema is that of an input without fields."""
    return schema.get("type") == "object" and not schema.get("required")


def _parameter(name: str, schema: Any, root: JsonSchema, *, is_required: bool) -> Parameter:
    found = _types(schema, root)
    is_list = "array" in found
    if is_list:
        if len(found - {"null"}) > 1:
            raise ValueError(f"`{name}` may be a list or something else; a URL cannot say which")
        items = next((part["items"] for part in _parts(schema, root) if isinstance(part.get("items"), dict)), None)
        found = _types(items, root) if items is not None else set()
    if "object" in found or "array" in found:
        whole = "a list of objects or lists" if is_list else "an object"
        raise ValueError(f"`{name}` is {whole}, which a URL cannot hold; take it in the body of a POST")
    scalars = found - {"null"}
    if "number" in scalars:
        scalars -= {"integer", "number"} if "string" in scalars else {"integer"}  # a decimal number may be written as text
    if len(scalars) != 1:
        problem = "may be of several types" if scalars else "has items of no `type`" if is_list else "has no `type`"
        raise ValueError(f"`{name}` {problem}; a URL is text, and one type must say how to read it")
    default = next((part["default"] for part in _parts(schema, root) if "default" in part), None)
    return Parameter(name, scalars.pop(), is_list, is_required, schema, default)


def _parts(schema: Any, root: JsonSchema, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield the schema and those that it refers to, or that stand beside or for it."""
    if not isinstance(schema, dict) or depth > _MOST_STEPS:
        return
    yield schema
    if "$ref" in schema:
        yield from _parts(resolved(schema, root), root, depth + 1)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for branch in schema.get(keyword, ()):
            yield from _parts(branch, root, depth + 1)


def _types(schema: Any, root: JsonSchema) -> set[str]:
    """Return every JSON type that the schema names, by ``type`` or by the values it lists."""
    found: set[str] = set()
    for part in _parts(schema, root):
        named = part.get("type", ())
        found |= {named} if isinstance(named, str) else set(named)
        if "type" not in part:
            found |= {_type_of(value) for value in part.get("enum", ())}
            if "const" in part:
                found.add(_type_of(part["const"]))
    return found


def _type_of(value: Any) -> str:
    return _TYPES.get(type(value), "object")
