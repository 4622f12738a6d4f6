"""What an event of a machine may carry into the data of an object: ``transitions.<event>.data`` in states.yaml."""

from typing import Any

from stylobate.declarations.compiled import closed, resolved
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.document import Node
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.section import Section, did_you_mean

_KEY = "data"


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
    known = closed_members(namespace)
    for name, line in lines.items():
        if known is not None and name not in known:
            message = f"`{_KEY}` of {transition.where}: the schema of the data has no `{name}`{did_you_mean(name, known)}"
            transition.report.error(line, message)
    return schema


def _schema(transition: Section, node: Node, module: ModuleContext, file: str) -> JsonSchema | None:
    schema = module.schemas.resolve(node, transition.report, file)
    if schema is None:
        return None
    if resolved(schema, schema or {}).get("type") != "object" or not _members(schema):
        transition.error(
            _KEY, f"`{_KEY}` must be a list of fields, or the schema of an object (`type: object`) with `properties`"
        )
        return None
    return dict(closed(schema))


def _members(schema: JsonSchema | None) -> dict[str, Any] | None:
    """Return the members that the schema of an object names; None where it names none."""
    members = resolved(schema, schema or {}).get("properties")
    return members if isinstance(members, dict) else None


def closed_members(schema: JsonSchema | None) -> dict[str, Any] | None:
    """Return the members that objects of the schema can have; None where they may have any."""
    is_open = resolved(schema, schema or {}).get("additionalProperties", True) is not False
    return None if is_open else _members(schema)
