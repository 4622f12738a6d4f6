"""``filter[total][gte]=100&filter[status][in]=paid,shipped``: conditions on objects in a query, and how they are documented."""

import re
from collections.abc import Iterator, Mapping
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


def list_of(namespace: NamespaceDeclaration, general: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operation that lists a namespace's objects, with what its indexes let it be asked for.

    :param general: the operation that lists those of any.
    """
    kept = [parameter for parameter in general["parameters"] if parameter["name"] not in {"namespace", "sort"}]
    return {
        **general,
        "operationId": f"list_{namespace.name.replace('-', '_')}",
        "summary": f"List the objects of {namespace.name} that you may list, in the order of their keys or of an index",
        "parameters": [*described(namespace), *kept],
    }


def described(namespace: NamespaceDeclaration) -> Iterator[dict[str, Any]]:
    """Yield the parameters that lists of a namespace take beside those that all take."""
    fields = {field.name: field.kind for index in namespace.indexes for field in index.fields}
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
    if fields:
        yield _FIELD | {
            "description": "A field to sort by, `-` before it for the highest first. Where no index has what the filters find in "
            "this order, they may find 1000 objects at most: else `STATE_SORT_TOO_BROAD`.",
            "schema": {"type": "string", "enum": [sign + name for name in {**fields, **OWN_FIELDS} for sign in ("", "-")]},
        }
