"""The input of an action from a request for its route: path and query are read as its schema says, a body stays as it came.

What does not read as the type that the schema names stays text, and the action's own schema refuses it, in its own words and
at its place: there is one judge of inputs, whichever way they come.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import orjson
from stylobate import strict_json
from stylobate.declarations.parameters import Parameter, RouteInput
from stylobate.errors import InvalidInputError, MalformedJsonError, Violation
from stylobate.json_pointer import pointer
from stylobate.modules.errors import ActionInputInvalidError

INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
"""A whole number as JSON writes it (RFC 8259 section 6)."""
_NUMBER = re.compile(INTEGER.pattern + r"(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_UNKNOWN = "is not known here"
_MOST_PARAMETERS = 1000
"""Of a query. Each costs far more to look at, and to answer when it is wrong, than to send."""


def check_query(query: bytes) -> None:
    """Return when the query has no more parameters than anyone needs. Raises InvalidInputError."""
    if query.count(b"&") >= _MOST_PARAMETERS:
        raise InvalidInputError(f"A query may have at most {_MOST_PARAMETERS} parameters.")


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """Return names and values of a query (the URL standard's application/x-www-form-urlencoded) in their order.

    :param query: percent-encoded UTF-8: the listener lets no other pass.
    """
    return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict") if query else []


def action_input(shape: RouteInput, values: Sequence[str], query: bytes, body: bytes) -> bytes:
    """Return the input as JSON.

    :param values: of the parameters of the path, in their order.
    :param body: of a method that has one; else empty.
    :raises ActionInputInvalidError: a parameter that is not known, or a field that stands in the path and the body.
    """
    if not query and not shape.is_object:
        return body
    pairs = query_pairs(query)
    unknown = dict.fromkeys(name for name, _ in pairs if name not in shape.query)
    if unknown:
        raise ActionInputInvalidError(violations=[Violation(pointer([name]), _UNKNOWN) for name in unknown])
    if not shape.is_object:
        return body
    fields = {parameter.name: _read(parameter, value) for parameter, value in zip(shape.path, values, strict=True)}
    if shape.has_body:
        return _joined(fields, body)
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    for name, parameter in shape.query.items():
        if name in given:
            fields[name] = _field(parameter, given[name])
        elif parameter.default is not None:
            fields[name] = parameter.default
    return orjson.dumps(fields)


def _field(parameter: Parameter, values: list[str]) -> Any:
    if not parameter.is_list and len(values) == 1:
        return _read(parameter, values[0])
    return [_read(parameter, value) for value in values]  # a list where none is taken is refused as one


def _read(parameter: Parameter, text: str) -> Any:
    match parameter.type:
        case "integer" if INTEGER.fullmatch(text):
            return orjson.Fragment(text)
        case "number" if _NUMBER.fullmatch(text):
            return orjson.Fragment(text)
        case "boolean" if text in {"true", "false"}:
            return text == "true"
        case _:
            return text


def _joined(fields: Mapping[str, Any], body: bytes) -> bytes:
    """Put the fields in front of the body's own, which stay as they came."""
    written = orjson.dumps(fields)
    if not body.strip():
        return written
    try:
        found = strict_json.loads(body)
    except strict_json.JsonMalformedError as error:
        raise MalformedJsonError(f"The body is not valid JSON: {error}") from None
    except strict_json.JsonRefusedError as error:
        raise ActionInputInvalidError(violations=[error.violation]) from None
    if not isinstance(found, dict):
        raise ActionInputInvalidError(violations=[Violation("", "the body must be an object")])
    if double := [name for name in fields if name in found]:
        raise ActionInputInvalidError(violations=[Violation(pointer([name]), "stands in the path already") for name in double])
    return written[:-1] + (b"," if found else b"") + body.lstrip()[1:]
