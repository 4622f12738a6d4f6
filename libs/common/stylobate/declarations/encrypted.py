"""``encrypted_fields`` of a namespace in states.yaml: what of the data is stored sealed."""

import re
from collections.abc import Mapping

from stylobate.declarations.fields import field_fault
from stylobate.declarations.indexes import field_name, path_of
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.section import Section

_MANY = 20
_STRING = re.compile(r"""r?("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_USE = re.compile(r"""(?<![\w.])(?:event\.)?data((?:\.[A-Za-z_]\w*|\[(?:"[^"\\]*"|'[^'\\]*')\])+)""")
_STEP = re.compile(r"""\.(\w+)|\[["'](.*?)["']\]""")
Path = tuple[str, ...]


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
