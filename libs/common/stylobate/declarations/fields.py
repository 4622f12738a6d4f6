"""``fields`` of a namespace in states.yaml: which of the data only some may see or set, or nobody is given."""

from typing import Any

from stylobate.declarations.carried import closed_members
from stylobate.declarations.compiled import resolved
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.indexes import OWN_FIELDS, field_name, path_of
from stylobate.declarations.model import FieldDeclaration, JsonSchema
from stylobate.declarations.rules import TERMS
from stylobate.declarations.section import Section, did_you_mean

RULES = ("read", "write")
FIELD_KEYS = (*RULES, "export")
_MANY = 50


def read_fields(
    section: Section, module: ModuleContext, schema: JsonSchema | None, schema_version: int
) -> tuple[FieldDeclaration, ...]:
    """Read the rules of fields; what is wrong stands in the report."""
    found: dict[tuple[str, ...], FieldDeclaration] = {}
    for written, line, node in section.entries("fields"):
        name = field_name(written)
        field = Section(node, section.report, f"field {written} of {section.where}", FIELD_KEYS)
        read, write = module.rule(field, "read", TERMS), module.rule(field, "write", TERMS)
        if not any(key in field or field.is_misspelt(key) for key in FIELD_KEYS):
            section.report.error(line, f"`{written}` says none of `read`, `write` and `export` ({section.where})")
        path = path_of(name)
        if message := field_fault(name, path, schema, has_older=schema_version > 1):
            section.report.error(line, f"{message} ({section.where})")
            continue
        for other in found:
            if path[: len(other)] == other or other[: len(path)] == path:
                outer, inner = sorted((".".join(other), ".".join(path)), key=len)
                section.report.error(line, f"`{inner}` lies within `{outer}`, which has a rule too ({section.where})")
        found[path] = FieldDeclaration(name, read, write, is_exported=field.flag("export", default=True))
    if len(found) > _MANY:
        section.error("fields", f"at most {_MANY} fields have rules of their own")
    return tuple(found.values())


def field_fault(name: str, path: tuple[str, ...], schema: JsonSchema | None, *, has_older: bool) -> str:
    """Return why there is no such field; empty where there may be one.

    :param has_older: whether there is data of older schema versions, which may have had other fields.
    """
    if name in OWN_FIELDS:
        return f"`{name}` is of the object itself; a member of the data of that name is `data.{name}`"
    if not all(path):
        return f"`{name}` is not a path of members, such as `customer.email`"
    if has_older:
        return ""
    part: Any = schema or {}
    for depth, step in enumerate(path):
        members = resolved(part, schema or {}).get("properties", {})
        if step not in members:
            if depth < len(path) - 1:
                return f"the schema does not say that `{'.'.join(path[: depth + 1])}` is an object{did_you_mean(step, members)}"
            known = members if depth else closed_members(schema)
            return "" if known is None else f"the schema of the data has no `{name}`{did_you_mean(step, known)}"
        part = members[step]
    return ""
