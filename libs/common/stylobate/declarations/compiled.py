"""JSON Schema 2020-12, compiled once and asked often."""

from typing import Any

import jsonschema_rs

from stylobate.declarations.model import JsonSchema
from stylobate.errors import Violation
from stylobate.json_pointer import pointer, steps

UNKNOWN_MEMBER = "is not known here"
"""What a finding says of a member that a closed object does not have."""
_MOST_VIOLATIONS = 100
"""An input with thousands of faults is described by its first ones."""


_UNKNOWN_MEMBERS = (
    jsonschema_rs.ValidationErrorKind.AdditionalProperties,
    jsonschema_rs.ValidationErrorKind.UnevaluatedProperties,
)


class CompiledSchema:
    """A schema ready for checking; costs half a microsecond for a small valid object.

    ``format`` is checked (``email``, ``date-time``, …), and nothing is ever fetched: a ``$ref`` points inside the schema.
    """

    def __init__(self, schema: JsonSchema) -> None:
        """Compile. Raises ValueError when it is not a valid schema."""
        document = dict(schema)
        self._validator = jsonschema_rs.Draft202012Validator(
            document, mask="the value", validate_formats=True, retriever=_refuse_to_fetch
        )
        self.is_valid = self._validator.is_valid
        """Whether the object (JSON as Python values) fits; bound once for the hot path."""

    def violations(self, instance: Any) -> tuple[Violation, ...]:
        """Return what is wrong with the object, one entry per finding, at most 100; empty when it fits.

        The input's own values are never repeated in the sentences.
        """
        found: list[Violation] = []
        for error in self._validator.iter_errors(instance):
            found += _violations_of(error)
            if len(found) >= _MOST_VIOLATIONS:
                return tuple(found[:_MOST_VIOLATIONS])
        return tuple(found)


def closed(schema: Any) -> Any:
    """Return the schema with ``additionalProperties: false`` on every object that lists properties and leaves it open."""
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in {"$defs", "properties", "patternProperties", "dependentSchemas"}:
            result[keyword] = {name: closed(part) for name, part in value.items()}
        elif keyword in {"prefixItems", "anyOf", "oneOf", "allOf"}:
            result[keyword] = [closed(part) for part in value]
        elif keyword in {"items", "additionalProperties", "contains", "not", "if", "then", "else"}:
            result[keyword] = closed(value)
        else:
            result[keyword] = value
    if "properties" in result:
        result.setdefault("additionalProperties", False)
    return result


def resolved(schema: Any, root: JsonSchema) -> dict[str, Any]:
    """Return the schema that a chain of references into the root's ``$defs`` ends at; empty where it ends at none."""
    for _ in range(len(root.get("$defs", ())) + 2):
        if not isinstance(schema, dict):
            break
        reference = schema.get("$ref")
        if reference is None:
            return schema
        schema = root if reference == "#" else root.get("$defs", {}).get("/".join(steps(str(reference))[1:]))
    return {}


def _violations_of(error: jsonschema_rs.ValidationError) -> list[Violation]:
    if isinstance(error.kind, _UNKNOWN_MEMBERS):
        return [Violation(pointer([*error.instance_path, name]), UNKNOWN_MEMBER) for name in error.kind.unexpected]
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        return [Violation(pointer([*error.instance_path, str(error.kind.property)]), "is missing")]
    return [Violation(pointer(error.instance_path), error.message)]


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri}")
