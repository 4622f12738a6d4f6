"""actions.yaml: actions and the schemas that a module names."""

import re
from datetime import timedelta

from stylobate.declarations.action_resource import ActionResource
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.document import Node
from stylobate.declarations.limits_file import RESERVED, read_action_limit
from stylobate.declarations.model import AccessRule, ActionDeclaration, JsonSchema
from stylobate.declarations.parameters import RouteInput
from stylobate.declarations.report import FileReport, ModuleReport
from stylobate.declarations.route import Route
from stylobate.declarations.rules import AUTHENTICATED, PUBLIC, parse_duration, parse_rate_limit
from stylobate.declarations.schemas import SchemaSet
from stylobate.declarations.section import Section, did_you_mean

FILE = "actions.yaml"
KEYS = ("actions", "schemas")
_LATER = ("schedules", "queues")
ACTION_KEYS = ("summary", "handler", "route", "access", "resource", "rate_limit", "timeout", "idempotent", "input", "output")
_ACTION_LATER = (
    "audit", "before", "after", "do", "grpc", "guard", "http", "isolation", "mode", "priority", "retry", "schedule",
)  # fmt: skip
_ACTION = re.compile(r"[a-z][a-z0-9_]*")
_HANDLER = re.compile(r"[a-z][a-z0-9_]*", re.IGNORECASE)
_DEFAULT_TIMEOUT = timedelta(seconds=5)


def read_schemas(node: Node | None, module: str, report: ModuleReport) -> SchemaSet:
    """Return the module's named schemas. ``node`` is the file's content, None where it could not be read."""
    file = report.of(FILE)
    if node is None:
        return SchemaSet(module, None, file)
    keys = node.value if isinstance(node.value, dict) else {}
    if "schemas" not in keys and any(did_you_mean(key, ("schemas",)) for key in keys if key not in KEYS):
        return SchemaSet(module, None, file)  # misspelt, which is a finding: what refers to it is not to blame
    return SchemaSet(module, keys.get("schemas") or Node({}, 0), file)


def read_actions(node: Node, module: ModuleContext) -> tuple[ActionDeclaration, ...]:
    """Read the actions; what is wrong stands in the report."""
    file = module.report.of(FILE)
    section = Section(node, file, FILE, KEYS, _LATER)
    return tuple(read_action(name, line, child, module, file) for name, line, child in section.entries("actions"))


def read_action(name: str, line: int, node: Node, module: ModuleContext, file: FileReport) -> ActionDeclaration:
    """Read one action, of this file or of the module's code; what is wrong stands in the report.

    :param file: the report of where it stands.
    """
    prefix, _, rest = name.partition(".")
    if prefix != module.name or not _ACTION.fullmatch(rest):
        file.error(line, f"{name!r} must be `{module.name}.<name>` in lower case letters, digits and _")
    elif name in RESERVED:
        file.error(line, f"{name!r} is a name that the platform itself counts by; choose another one")
    action = Section(node, file, f"action {name}", ACTION_KEYS, _ACTION_LATER)
    route = action.parsed("route", Route.parse)
    taken = _schema(action, "input", module.schemas)
    if route is not None and taken is not None:
        try:
            RouteInput.of(route, taken)
        except ValueError as error:
            action.error("route", f"{route}: {error}")
    limit = action.node("rate_limit")
    is_rule = limit is not None and isinstance(limit.value, dict)
    rule = read_action_limit(limit, name, file, action.line_of("rate_limit")) if limit is not None and is_rule else None
    return ActionDeclaration(
        name=name,
        module=module.name,
        handler=_handler(action),
        access=_access(action, module),
        resource=_resource(action, taken),
        summary=action.text("summary"),
        route=str(route or ""),
        rate_limit=None if rule else action.parsed("rate_limit", parse_rate_limit, unit="/minute"),
        limit_rule=rule,
        timeout=action.parsed("timeout", parse_duration, unit="s") or _DEFAULT_TIMEOUT,
        takes_keys=action.flag("idempotent", default=True),
        input=taken,
        output=_schema(action, "output", module.schemas),
        file=file.file,
        line=line,
    )


def _handler(action: Section) -> str:
    node = action.node("handler")
    value = node.value if node is not None else ""
    if isinstance(value, dict) or (isinstance(value, str) and ":" in value):
        action.error("handler", "a handler outside of Python is not supported yet; name a method of the module")
        return ""
    handler = action.text("handler", required=True)
    if handler and not _HANDLER.fullmatch(handler):
        action.error("handler", f"{handler!r} is not the name of a public method")
        return ""
    return handler


def _access(action: Section, module: ModuleContext) -> AccessRule:
    rule = module.rule(action, "access", (PUBLIC, AUTHENTICATED), required=True) or AccessRule()
    if len(rule.terms) > 1:
        action.error("access", "`access` of an action is one permission, `public` or `authenticated`")
    return rule


def _resource(action: Section, taken: JsonSchema | None) -> ActionResource | None:
    resource = action.parsed("resource", ActionResource.parse)
    if resource is None:
        return None
    if ":" not in action.text("access"):
        action.error("resource", "`resource` says what the permission in `access` may be granted on, and there is none")
    members = taken.get("properties") if taken is not None else None
    if isinstance(members, dict) and resource.member not in members:
        action.error("resource", f"the input has no member `{resource.member}`{did_you_mean(resource.member, members)}")
    return resource


def _schema(action: Section, key: str, schemas: SchemaSet) -> JsonSchema | None:
    node = action.node(key)
    return schemas.resolve(node, action.report, FILE) if node is not None else None
