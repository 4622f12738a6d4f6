"""What an event of a machine may carry into the data of an object: ``transitions.<event>.data`` in states.yaml."""

from typing import Any

from stylobate.declarations.compiled import closed
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.document import Node
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.section import Section, did_you_mean

_KEY = "data"
_REFERENCE = "#/$defs/"


def read_carried(transition: Section, namespace: JsonSchema | None, module: ModuleContext, file: str) -> JsonSchema | None:
    """Return the closed schema of what the event carries; None: nothing.

    :param namespace: the schema of the data it is merged into, where there is one: a member that it does not have is a finding.
    """
    node = transition.node(_KEY)
    if node is None:
        return None
    if isinstance(node.value, dict):
        schema = _schema(transition, node, module, file)
        lines = {name: node.line_at(["properties", name]) for name in _members(schema) or ()}
    else:
        lines = dict(transition.texts(_KEY))
        schema = {"type": "object", "properties": dict.fromkeys(lines, True), "additionalProperties": False} if lines else None
    known = _members(namespace)
    for name, line in lines.items():
        if known is not None and name not in known and not _is_open(namespace):
            message = f"`{_KEY}` of {transition.where}: the schema of the data has no `{name}`{did_you_mean(name, known)}"
            transition.report.error(line, message)
    return schema


def _schema(transition: Section, node: Node, module: ModuleContext, file: str) -> JsonSchema | None:
    schema = module.schemas.resolve(node, transition.report, file)
    if schema is None:
        return None
    if _resolved(schema).get("type") != "object" or not _members(schema):
        transition.error(
            _KEY, f"`{_KEY}` must be a list of fields, or the schema of an object (`type: object`) with `properties`"
        )
        return None
    return dict(closed(schema))


def _resolved(schema: JsonSchema | None) -> dict[str, Any]:
    """Return the schema behind references at its top."""
    found: Any = schema
    seen: set[str] = set()
    while isinstance(found, dict) and str(found.get("$ref", "")).startswith(_REFERENCE) and found["$ref"] not in seen:
        seen.add(found["$ref"])
        found = (schema or {}).get("$defs", {}).get(found["$ref"].removeprefix(_REFERENCE))
    return found if isinstance(found, dict) else {}


def _members(schema: JsonSchema | None) -> dict[str, Any] | None:
    """Return the members that the schema of an object names; None where it names none."""
    members = _resolved(schema).get("properties")
    return members if isinstance(members, dict) else None


def _is_open(schema: JsonSchema | None) -> bool:
    """Whether objects of the schema may have members that it does not name."""
    return _resolved(schema).get("additionalProperties", True) is not False
