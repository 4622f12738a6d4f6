"""``indexes`` of a namespace in states.yaml: what its objects are found and sorted by."""

from collections.abc import Sequence
from typing import Any

from stylobate.declarations.compiled import resolved
from stylobate.declarations.document import Node
from stylobate.declarations.model import IndexDeclaration, IndexField, JsonSchema
from stylobate.declarations.section import Section, did_you_mean

INDEX_KEYS = ("fields", "unique", "where")
WHERE_KEYS = ("status",)
MAX_FIELDS = 3
TEXT, NUMBER, BOOLEAN, TIME = "text", "number", "boolean", "time"
OWN_FIELDS = {"status": TEXT, "owner": TEXT, "created_at": TIME, "updated_at": TIME}
"""What every object has beside its data."""
_TIMES = ("created_at", "updated_at")
_DATA = "data."
_KINDS = {"string": TEXT, "integer": NUMBER, "number": NUMBER, "boolean": BOOLEAN}
_PYTHON = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
_MANY = 20


def field_name(name: str) -> str:
    """Return the one name of a field: ``data.total`` is ``total``, where the object itself has nothing of that name."""
    inner = name.removeprefix(_DATA)
    return inner if inner not in OWN_FIELDS else name


def path_of(name: str) -> tuple[str, ...]:
    """Return where a field stands in the data, by its one name; nothing for what the object itself has."""
    return () if name in OWN_FIELDS else tuple(name.removeprefix(_DATA).split("."))


def read_indexes(section: Section, schema: JsonSchema | None, statuses: Sequence[str]) -> tuple[IndexDeclaration, ...]:
    """Read the indexes of a namespace; what is wrong stands in the report."""
    node = section.node("indexes")
    if node is None or node.value is None:
        return ()
    if not isinstance(node.value, list):
        section.error("indexes", "`indexes` must be a list of indexes, such as `- { fields: [total] }`")
        return ()
    if len(node.value) > _MANY:
        section.error("indexes", f"a namespace has at most {_MANY} indexes: each write pays for each of them")
    found: dict[IndexDeclaration, int] = {}
    for item in node.value:
        index = _index(item, section, schema, statuses)
        if index is None:
            continue
        if index in found:
            section.report.error(item.line, f"this index stands in line {found[index]} already ({section.where})")
        found.setdefault(index, item.line)
    return tuple(found)


def _index(node: Node, of: Section, schema: JsonSchema | None, statuses: Sequence[str]) -> IndexDeclaration | None:
    index = Section(node, of.report, f"an index of {of.where}", INDEX_KEYS)
    if not isinstance(node.value, dict):
        return None  # there is a finding already
    names = index.texts("fields")
    if not names and "fields" not in index and not index.is_misspelt("fields"):
        index.report.error(index.line, f"`fields` is missing in {index.where}")
    elif "fields" in index and index.node("fields").value == []:  # type: ignore[union-attr]  # it is there
        index.error("fields", "`fields` names no field")
    if len(names) > MAX_FIELDS:
        index.report.error(names[MAX_FIELDS][1], f"an index has at most {MAX_FIELDS} fields ({index.where})")
    fields = [_field(name, line, index, schema) for name, line in names]
    is_unique = index.flag("unique")
    if is_unique:
        for name, line in names:
            if field_name(name) in _TIMES:
                index.report.error(line, f"`{name}` cannot be part of a `unique` index: no two objects have the same value there")
    where = _where(index, statuses)
    known = tuple(field for field in fields if field is not None)
    return IndexDeclaration(known, is_unique, where) if known and len(known) == len(names) else None


def _where(index: Section, statuses: Sequence[str]) -> tuple[str, ...]:
    where = index.section("where", WHERE_KEYS)
    wanted = where.texts("status", or_one=True)
    if "where" in index and "status" not in where and not where.is_misspelt("status"):
        index.error("where", "`where` must say `status`")
    for status, line in wanted:
        if status not in statuses:
            index.report.error(line, f"the namespace has no status `{status}`{did_you_mean(status, statuses)} ({index.where})")
    return tuple(sorted({status for status, _ in wanted}))


def _field(name: str, line: int, index: Section, schema: JsonSchema | None) -> IndexField | None:
    name = field_name(name)
    if name in OWN_FIELDS:
        return IndexField(name, OWN_FIELDS[name])
    if schema is None:
        index.report.error(
            line, f"`{name}` cannot be indexed: the namespace has no `schema` that says what it is ({index.where})"
        )
        return None
    part: Any = schema
    for step in path_of(name):
        members = resolved(part, schema).get("properties", {})
        if step not in members:
            hint = did_you_mean(step, [*members, *(OWN_FIELDS if part is schema else ())])
            index.report.error(line, f"the schema of the data has no `{name}`{hint} ({index.where})")
            return None
        part = members[step]
    kind = _kind(part, schema)
    if not kind:
        what = "a text, a number, a boolean or a date-time, by its `type`"
        index.report.error(line, f"`{name}` cannot be indexed: its schema must say that it is {what} ({index.where})")
        return None
    return IndexField(name, kind)


def _kind(schema: Any, root: JsonSchema) -> str:
    """Return the kind of the values that the schema takes, null aside; empty where there is not exactly one."""
    found = resolved(schema, root)
    choices = found.get("anyOf") or found.get("oneOf")
    if "type" not in found and isinstance(choices, list):
        kinds = {_kind(choice, root) for choice in choices if resolved(choice, root).get("type") != "null"}
        return kinds.pop() if len(kinds) == 1 else ""
    types = found.get("type", [_PYTHON.get(type(value), "") for value in found.get("enum", [])])
    if not types and "const" in found:
        types = _PYTHON.get(type(found["const"]), "")
    names = {types} if isinstance(types, str) else set(types)
    kinds = {_KINDS.get(name, "") for name in names - {"null"}}
    kind = kinds.pop() if len(kinds) == 1 else ""
    return TIME if kind == TEXT and found.get("format") == "date-time" else kind
