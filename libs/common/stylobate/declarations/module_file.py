"""module.yaml: what a module is called, needs, and adds to permissions and roles."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stylobate.declarations.compiled import CompiledSchema
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.document import Node
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.own_database import read_database
from stylobate.declarations.report import ModuleReport
from stylobate.declarations.rules import is_permission
from stylobate.declarations.section import Section

FILE = "module.yaml"
KEYS = ("name", "version", "description", "dependencies", "settings", "permissions", "roles", "secrets", "database")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ROLE = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """The file's content."""

    name: str
    version: str
    description: str
    dependencies: tuple[str, ...]
    permissions: Mapping[str, str]
    roles: Mapping[str, tuple[str, ...]]
    settings: Node | None
    secrets: Mapping[str, int]
    """With the line of each."""
    database: str
    database_line: int


def read_module_file(node: Node, report: ModuleReport) -> ModuleFile:
    """Read the file; what is wrong stands in the report."""
    file = report.of(FILE)
    section = Section(node, file, FILE, KEYS)
    name = section.text("name", required=True)
    if name and not _NAME.fullmatch(name):
        section.error("name", f"{name!r} is not a valid module name; use lower case letters, digits and _")
        name = ""
    dependencies = section.texts("dependencies")
    report.dependencies += [file.reference(dependency, line) for dependency, line in dependencies]
    return ModuleFile(
        name=name,
        version=section.text("version"),
        description=section.text("description"),
        dependencies=tuple(dependency for dependency, _ in dependencies),
        permissions=_permissions(section, report),
        roles=_roles(section, report),
        settings=section.node("settings"),
        secrets=_secrets(section),
        database=read_database(section, name, report),
        database_line=section.line_of("database"),
    )


def settings_schema(content: ModuleFile, module: ModuleContext) -> JsonSchema | None:
    """Return the schema of the module's settings, or None."""
    node = content.settings
    if node is None or node.value is None:
        return None
    file = module.report.of(FILE)
    if not isinstance(node.value, dict) or "type" not in node.value or node.value["type"].value != "object":
        file.error(node.line, "`settings` must be a JSON Schema with `type: object`")
        return None
    schema = module.schemas.resolve(node, file, FILE)
    for key, part in (schema or {}).get("properties", {}).items():
        if isinstance(part, Mapping) and "default" in part:
            compiled = CompiledSchema({**part, "$defs": (schema or {}).get("$defs", {})})
            for violation in compiled.violations(part["default"]):
                line = node.line_at(["properties", key, "default"])
                file.error(line, f"the default of the setting `{key}` is not what its schema asks for: {violation.detail}")
    return schema


def _secrets(section: Section) -> dict[str, int]:
    settings = section.node("settings")
    properties = settings.value.get("properties") if settings is not None and isinstance(settings.value, dict) else None
    known = properties.value if properties is not None and isinstance(properties.value, dict) else {}
    secrets: dict[str, int] = {}
    for name, line, node in section.entries("secrets"):
        if not _NAME.fullmatch(name):
            section.report.error(line, f"{name!r} is not a name for a secret; use lower case letters, digits and _")
        if name in known:
            section.report.error(line, f"the secret `{name}` is a setting as well, and both would have one variable")
        if not isinstance(node.value, str) or not node.value:
            section.report.error(line, f"the secret `{name}` needs a description")
        secrets[name] = line
    return secrets


def _permissions(section: Section, report: ModuleReport) -> dict[str, str]:
    permissions: dict[str, str] = {}
    if section.is_misspelt("permissions"):
        report.doubtful.add("permissions")
    for name, line, node in section.entries("permissions"):
        if not is_permission(name) or name.startswith("state:"):
            report.doubtful.add("permissions")
        if not is_permission(name):
            section.report.error(line, f"{name!r} is not a permission; write `orders:create`")
        if name.startswith("state:"):
            section.report.error(line, f"{name!r}: `state:` names state namespaces in realtime.yaml")
        if not isinstance(node.value, str) or not node.value:
            section.report.error(line, f"the permission `{name}` needs a description")
        permissions[name] = str(node.value)
    return permissions


def _roles(section: Section, report: ModuleReport) -> dict[str, tuple[str, ...]]:
    names = [name for name, _, _ in section.entries("roles")]
    roles = section.section("roles", names)
    granted: dict[str, tuple[str, ...]] = {}
    for role in names:
        if not _ROLE.fullmatch(role):
            roles.error(role, f"{role!r} is not a valid role name; use lower case letters, digits, _ and -")
        permissions = roles.texts(role)
        report.permissions += [section.report.reference(permission, line) for permission, line in permissions]
        granted[role] = tuple(permission for permission, _ in permissions)
    return granted
