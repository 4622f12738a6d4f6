"""``encrypted_fields`` of a namespace in states.yaml: what of the data is stored sealed."""

import re
from collections.abc import Mapping
from typing import Any

from stylobate.declarations.fields import field_fault
from stylobate.declarations.indexes import field_name, path_of
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.section import Section, did_you_mean

_MANY = 20
_STRING = re.compile(r"""r?("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_USE = re.compile(r"""(?<![\w.])(?:event\.)?data((?:\.[A-Za-z_]\w*|\[(?:"[^"\\]*"|'[^'\\]*')\])+)""")
_STEP = re.compile(r"""\.(\w+)|\[["'](.*?)["']\]""")
Path = tuple[str, ...]
PER_NAMESPACE, PER_OWNER = "per_namespace", "per_owner"
ENCRYPTION = (PER_NAMESPACE, PER_OWNER)
_FORGETS = ("anonymize", "delete")


def read_encrypted(section: Section, schema: JsonSchema | None, schema_version: int) -> tuple[str, ...]:
    """Read the names of the fields; what is wrong with them, or asks for their values, stands in the report."""
    found: dict[Path, str] = {}
    for written, line in section.texts("encrypted_fields"):
        name = field_name(written)
        path = path_of(name)
        if message := field_fault(name, path, schema, has_older=schema_version > 1):
            section.report.error(line, f"{message} ({section.where})")
            continue
        if inside := next((other for other in found if _touch(other, path)), None):
            section.report.error(line, f"`{name}` and `{found[inside]}` lie within each other ({section.where})")
        found[path] = name
    if len(found) > _MANY:
        section.error("encrypted_fields", f"at most {_MANY} fields of a namespace are encrypted")
    if found:
        _check_indexes(section, found)
        _check_guards(section, found)
    return tuple(found.values())


def read_per_owner(section: Section, schema: JsonSchema | None) -> bool:
    """Read whether each owner's data has a key of its own; what is wrong stands in the report."""
    said = section.text("encryption", PER_NAMESPACE)
    if said not in ENCRYPTION:
        section.error("encryption", f"`encryption` must be {PER_NAMESPACE} or {PER_OWNER}{did_you_mean(said, ENCRYPTION)}")
        return False
    if "encryption" in section and "encrypted_fields" not in section and not section.is_misspelt("encrypted_fields"):
        section.error("encryption", "`encryption` says how fields are encrypted, and `encrypted_fields` names none")
    if said == PER_NAMESPACE:
        return False
    forgets = section.text("on_owner_deleted", "")
    if forgets not in _FORGETS and not section.is_misspelt("on_owner_deleted"):
        section.error(
            "encryption", "`encryption: per_owner` destroys the key with the account: say `on_owner_deleted`, anonymize or delete"
        )
    if forgets == _FORGETS[0]:
        for written, line in section.texts("encrypted_fields"):
            if _is_required(path_of(field_name(written)), schema):
                section.report.error(
                    line, f"`{written}` is required by the schema, and goes with the account of who owns it ({section.where})"
                )
    return True


def _is_required(path: Path, schema: Any) -> bool:
    """Return whether an object that the schema takes must have something at the path."""
    for name in path:
        if not isinstance(schema, dict) or name not in schema.get("required", ()):
            return False
        schema = schema.get("properties", {}).get(name)
    return True


def _check_indexes(section: Section, encrypted: Mapping[Path, str]) -> None:
    node = section.node("indexes")
    for item in node.value if node is not None and isinstance(node.value, list) else ():
        fields = item.value.get("fields") if isinstance(item.value, dict) else None
        for field in fields.value if fields is not None and isinstance(fields.value, list) else ():
            path = path_of(field_name(field.value)) if isinstance(field.value, str) else ()
            if path and any(_touch(path, other) for other in encrypted):
                section.report.error(field.line, f"`{field.value}` is encrypted: no index can hold it ({section.where})")


def _check_guards(section: Section, encrypted: Mapping[Path, str]) -> None:
    for event, _, node in section.entries("transitions"):
        guard = node.value.get("guard") if isinstance(node.value, dict) else None
        if guard is None or not isinstance(guard.value, str):
            continue
        for used in _used(guard.value):
            if name := next((name for path, name in encrypted.items() if _touch(path, used)), ""):
                message = f"`guard` of transition {event} asks for `{name}`, which is encrypted: guards do not see it"
                section.report.error(guard.line, f"{message} ({section.where})")
                break


def _used(guard: str) -> list[Path]:
    """Return the members of the data that a guard names: outside of strings, but for those that stand as an index."""
    whole = [(match[1], match.start()) for match in _USE.finditer(guard)]
    quoted = [(match.start(), match.end()) for match in _STRING.finditer(guard)]
    outside = (steps for steps, at in whole if not any(start < at < end for start, end in quoted))
    return [tuple(name or other for name, other in _STEP.findall(steps)) for steps in outside]


def _touch(one: Path, other: Path) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one
