"""``filter[total][gte]=100&filter[status][in]=paid,shipped``: conditions on objects in a query, and how they are documented."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stylobate.api.state.v1.state_service_pb2 import StateFilter
from stylobate.declarations.indexes import BOOLEAN, NUMBER, OWN_FIELDS, TEXT, TIME
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.errors import InvalidInputError, Violation
from stylobate.json_pointer import pointer

from stylobate_gateway.action_input import query_pairs

BEGINNING = "filter["
MOST_COUNTED = 10_000
_NAME = re.compile(r"filter\[([^\[\]]{1,255})\](?:\[([a-z]{1,20})\])?")
_RANGE = ("lt", "lte", "gt", "gte")
_OPERATORS = {
    TEXT: ("eq", "in", "prefix", *_RANGE, "exists"),
    NUMBER: ("eq", "in", *_RANGE, "exists"),
    TIME: ("eq", *_RANGE, "exists"),
    BOOLEAN: ("eq", "exists"),
}
_SCHEMAS: Mapping[str, dict[str, Any]] = {
    TEXT: {"type": "string", "maxLength": 1000, "pattern": r"^[^\u0000]*$"},
    NUMBER: {"type": "number"},
    TIME: {"type": "string", "format": "date-time"},
    BOOLEAN: {"type": "boolean"},
}
_SAID = {
    "eq": "Equal to it.",
    "in": "Equal to one of these, separated by commas.",
    "prefix": "Begins with it.",
    "lt": "Less.",
    "lte": "Less or equal.",
    "gt": "Greater.",
    "gte": "Greater or equal.",
    "exists": "Whether there is a value.",
}
_LIST = "/v1/state/{namespace}"
_WATCH = f"{_LIST}/watch"
_SUMMARIES = {
    "list": "List the objects of {} that you may list, in the order of their keys or of an index",
    "watch": "Follow the objects of {} that you may list and read: how they stand, then every change",
}
_FIELD = {"name": "sort", "in": "query", "required": False}


def read_filters(query: bytes) -> list[StateFilter]:
    """Return the filters of a query; one without an operator means ``eq``. Raises InvalidInputError for another form."""
    found = []
    for name, value in query_pairs(query):
        if not name.startswith(BEGINNING):
            continue
        parts = _NAME.fullmatch(name)
        if parts is None:
            raise InvalidInputError(violations=[Violation(pointer([name]), "must look like filter[<field>][<operator>]")])
        field, operator = parts[1], parts[2] or "eq"
        found.append(StateFilter(field=field, operator=operator, values=value.split(",") if operator == "in" else [value]))
    return found


def queries_of(namespaces: Iterable[NamespaceDeclaration], paths: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lists and the watches of each namespace by its own path, with what its indexes let them be asked for.

    :param paths: those of any namespace among others.
    """
    taken = {operation.get("operationId") for item in paths.values() for operation in item.values()}
    found = {}
    for namespace in namespaces:
        for path, verb in ((_LIST, "list"), (_WATCH, "watch")):
            name = f"{verb}_{namespace.name.replace('-', '_')}"
            while name in taken:  # a namespace may be called `objects`, as any are where none is meant
                name = name.replace(verb, f"{verb}_of", 1)
            taken.add(name)
            found[path.replace("{namespace}", namespace.name)] = {"get": _of(namespace, verb, name, paths[path]["get"])}
    return found


def _of(namespace: NamespaceDeclaration, verb: str, name: str, general: Mapping[str, Any]) -> dict[str, Any]:
    kept = [parameter for parameter in general["parameters"] if parameter["name"] not in {"namespace", "sort"}]
    sorts = _sorts(namespace) if verb == "list" else ()
    return {
        **general,
        "operationId": name,
        "summary": _SUMMARIES[verb].format(namespace.name),
        "parameters": [*_filters(namespace), *sorts, *kept],
    }


def _fields(namespace: NamespaceDeclaration) -> dict[str, str]:
    """Return the kinds of the fields that a namespace's objects are found by."""
    return {field.name: field.kind for index in namespace.indexes for field in index.fields}


def _filters(namespace: NamespaceDeclaration) -> Iterator[dict[str, Any]]:
    """Yield the parameters that filter a namespace's objects."""
    fields = _fields(namespace)
    for name, kind in fields.items():
        for operator in _OPERATORS[kind]:
            value = _SCHEMAS[kind]
            if name == "status" and operator in {"eq", "in"}:
                value = {"type": "string", "enum": [*namespace.statuses]}
            parameter = {"name": f"filter[{name}][{operator}]", "in": "query", "required": False, "description": _SAID[operator]}
            if operator == "in":
                values = {"type": "array", "items": value, "minItems": 1, "maxItems": 50}
                yield parameter | {"style": "form", "explode": False, "schema": values}
            else:
                yield parameter | {"schema": _SCHEMAS[BOOLEAN] if operator == "exists" else value}


def _sorts(namespace: NamespaceDeclaration) -> Iterator[dict[str, Any]]:
    """Yield the parameter that sorts a namespace's objects, where it has an index."""
    if fields := _fields(namespace):
        yield _FIELD | {
            "description": "A field to sort by, `-` before it for the highest first. Where no index has what the filters find in "
            "this order, they may find 1000 objects at most: else `STATE_SORT_TOO_BROAD`.",
            "schema": {"type": "string", "enum": [sign + name for name in {**fields, **OWN_FIELDS} for sign in ("", "-")]},
        }
