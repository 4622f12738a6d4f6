"""states.yaml: namespaces of state objects, their machines, and who may what."""

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from stylobate.declarations.carried import closed_members, read_carried
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.document import Node
from stylobate.declarations.effects import read_effects
from stylobate.declarations.encrypted import read_encrypted, read_per_owner
from stylobate.declarations.ephemeral import read_ttl
from stylobate.declarations.fields import read_fields
from stylobate.declarations.guard import Guard, GuardInvalidError
from stylobate.declarations.indexes import read_indexes
from stylobate.declarations.machine_check import check_meaning
from stylobate.declarations.model import (
    AccessRule,
    BeforeHook,
    JsonSchema,
    NamespaceAccess,
    NamespaceDeclaration,
    ProjectionDeclaration,
    TransitionDeclaration,
)
from stylobate.declarations.projections import read_projections
from stylobate.declarations.rules import ACTIONS, AUTHENTICATED, PUBLIC, TERMS, parse_duration, uncovered
from stylobate.declarations.section import Section, did_you_mean
from stylobate.declarations.timers import read_timers

FILE = "states.yaml"
KEYS = ("namespaces", "projections")
NAMESPACE_KEYS = (
    "schema",
    "schema_version",
    "upgrade",
    "initial",
    "access",
    "transitions",
    "timers",
    "on_enter",
    "on_exit",
    "before",
    "indexes",
    "history",
    "retention",
    "on_owner_deleted",
    "durability",
    "ttl",
    "fields",
    "encrypted_fields",
    "encryption",
    "events",
)
_NAMESPACE_LATER = (
    "after", "ephemeral", "guards", "migrations", "storage", "store", "validators",
)  # fmt: skip
ACCESS_KEYS = ("read", "list", "create", "write", "delete", "assign", "show_owner")
TRANSITION_KEYS = ("from", "to", "access", "data", "guard", "do")
_TRANSITION_LATER = ("after", "before")
RETENTION_KEYS = ("deleted",)
KEEP, ANONYMIZE, DELETE = "keep", "anonymize", "delete"
ON_OWNER_DELETED = (KEEP, ANONYMIZE, DELETE)
EVENT_KEYS = ("data",)
EVENT_DATA = ("before", "delta", "cause")
"""What events may carry beside what all of them do."""
_LONGEST_RETENTION = timedelta(days=36_600)
_parse_retention = partial(parse_duration, longest=_LONGEST_RETENTION)
HOOK_KEYS = ("method", "on_unavailable")
_OPERATIONS = ("created", "updated", "deleted", "assigned")
_RESERVED = ("transactions",)
_NAMESPACE = re.compile(r"[a-z][a-z0-9_-]*")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_METHOD = re.compile(r"[a-z][a-z0-9_]*", re.IGNORECASE)


def read_states(node: Node, module: ModuleContext) -> tuple[tuple[NamespaceDeclaration, ...], tuple[ProjectionDeclaration, ...]]:
    """Read the namespaces and the projections that make some of them; what is wrong stands in the report."""
    section = Section(node, module.report.of(FILE), FILE, KEYS)
    if section.is_misspelt("namespaces"):
        module.report.doubtful.add("namespaces")
    namespaces = tuple(_namespace(name, line, child, module) for name, line, child in section.entries("namespaces"))
    return namespaces, read_projections(section, module, namespaces)


def _namespace(name: str, line: int, node: Node, module: ModuleContext) -> NamespaceDeclaration:
    file = module.report.of(FILE)
    if not _NAMESPACE.fullmatch(name):
        module.report.doubtful.add("namespaces")
        file.error(line, f"{name!r} is not a valid namespace name; use lower case letters, digits, _ and -")
    if name in _RESERVED:
        module.report.doubtful.add("namespaces")
        file.error(line, f"`{name}` cannot be the name of a namespace: /v1/state/{name} is a path of the platform's own")
    section = Section(node, file, f"namespace {name}", NAMESPACE_KEYS, _NAMESPACE_LATER)
    schema_node = section.node("schema")
    schema = module.schemas.resolve(schema_node, file, FILE) if schema_node is not None else None
    access = _namespace_access(section, module)
    transitions = _transitions(section, module, schema, access.write)
    schema_version = section.positive("schema_version", 1)
    initial = section.text("initial")
    _check_machine(section, initial, transitions)
    named = {initial, *(status for item in transitions.values() for status in (*item.sources, item.target))} - {""}
    statuses = tuple(sorted(named))
    timers = read_timers(section, transitions)
    if not module.report.has_errors:
        check_meaning(section, initial, transitions, timers, access.write)
    return NamespaceDeclaration(
        name=name,
        module=module.name,
        schema=schema,
        schema_version=schema_version,
        upgrade=_upgrade(section, schema_version),
        initial=initial,
        statuses=statuses,
        access=access,
        transitions=transitions,
        timers=timers,
        effects=read_effects(section, module.name, statuses),
        before=_before(section, module.name, transitions),
        indexes=read_indexes(section, schema, statuses),
        ttl=read_ttl(section),
        history=section.positive("history", 0),
        deleted_for=_deleted_for(section),
        on_owner_deleted=_on_owner_deleted(section),
        fields=read_fields(section, module, schema, schema_version),
        encrypted=read_encrypted(section, schema, schema_version),
        per_owner=read_per_owner(section, schema),
        event_data=_event_data(section),
        file=file.file,
        line=line,
    )


def _namespace_access(section: Section, module: ModuleContext) -> NamespaceAccess:
    access = section.section("access", ACCESS_KEYS)
    everywhere = {key: module.rule(access, key, TERMS) or AccessRule() for key in ACCESS_KEYS if key != "create"}
    # Nobody owns what does not exist yet.
    create = module.rule(access, "create", (PUBLIC, AUTHENTICATED, ACTIONS)) or AccessRule()
    return NamespaceAccess(create=create, **everywhere)


def _deleted_for(section: Section) -> timedelta | None:
    node = section.node("retention")
    if node is None:
        return None
    is_mapping = node.value is None or isinstance(node.value, dict)
    return section.section("retention", RETENTION_KEYS).parsed("deleted", _parse_retention, required=is_mapping, unit="d")


def _on_owner_deleted(section: Section) -> str:
    said = section.text("on_owner_deleted", KEEP)
    if said not in ON_OWNER_DELETED:
        hint = did_you_mean(said, ON_OWNER_DELETED)
        section.error("on_owner_deleted", f"`on_owner_deleted` must be {KEEP}, {ANONYMIZE} or {DELETE}{hint}")
        return KEEP
    return said


def _event_data(section: Section) -> tuple[str, ...]:
    if "events" not in section:
        return ()
    events = section.section("events", EVENT_KEYS)
    named = events.texts("data")
    node = section.node("events")
    data = events.node("data")
    is_mapping = node is not None and (node.value is None or isinstance(node.value, dict))
    if is_mapping and (data is None or data.value in (None, [])) and not events.is_misspelt("data"):
        section.error("events", f"`events` says nothing: its `data` lists some of {', '.join(EVENT_DATA)}")
    for name, line in named:
        if name not in EVENT_DATA:
            known = ", ".join(EVENT_DATA)
            events.report.error(line, f"no event has `{name}`; `data` lists some of {known}{did_you_mean(name, EVENT_DATA)}")
    return tuple(name for name, _ in named)


def _transitions(
    section: Section, module: ModuleContext, schema: JsonSchema | None, write: AccessRule
) -> dict[str, TransitionDeclaration]:
    transitions: dict[str, TransitionDeclaration] = {}
    for event, line, node in section.entries("transitions"):
        if not _WORD.fullmatch(event) or event in _OPERATIONS:
            section.report.error(
                line, f"{event!r} is not a valid event name; use letters, digits, _ and -, not {'/'.join(_OPERATIONS)}"
            )
        transition = Section(node, section.report, f"transition {event}", TRANSITION_KEYS, _TRANSITION_LATER)
        sources = transition.texts("from", or_one=True)
        if not sources and not transition.is_misspelt("from"):
            transition.report.error(line, f"`from` is missing in transition {event}")
        target = transition.text("to", required=True)
        for status, at in [*sources, (target, transition.line_of("to"))]:
            if status and not _WORD.fullmatch(status):
                transition.report.error(at, f"{status!r} is not a valid status name; use letters, digits, _ and -")
        access = module.rule(transition, "access", TERMS)
        data = read_carried(transition, schema, module, FILE)
        if data is not None and access is not None and (wider := uncovered(access, write)):
            by, may = " or ".join(wider), str(write) or "nobody"
            transition.report.warning(
                transition.line_of("data"),
                f"transition {event} lets {by} set fields of the data, though `write` ({may}) does not; let an action set them, "
                "or see that the value of each does no harm",
            )
        guard = _guard(transition, schema)
        transitions[event] = TransitionDeclaration(event, tuple(status for status, _ in sources), target, access, data, guard)
    return transitions


def _guard(transition: Section, schema: JsonSchema | None) -> str:
    """Return the condition as it stands, once it is known to be one."""
    node = transition.node("guard")
    text = transition.text("guard", required=node is not None)
    if node is None or not text:
        return ""
    try:
        Guard(text, closed_members(schema))
    except GuardInvalidError as error:
        for fault in error.faults:
            is_block = not node.column
            column = fault.column if is_block or fault.line > 1 else node.column + fault.column - 1
            line = node.line + fault.line - (0 if is_block else 1)
            transition.report.error(line, f"`guard` of {transition.where}, column {column}: {fault.message}")
    return text


def _check_machine(section: Section, initial: str, transitions: Mapping[str, TransitionDeclaration]) -> None:
    if initial and not _WORD.fullmatch(initial):
        section.error("initial", f"{initial!r} is not a valid status name; use letters, digits, _ and -")
    if not initial and ("initial" in section or section.is_misspelt("initial")):
        return  # there is a finding already
    if transitions and not initial:
        section.report.error(section.line, f"`initial` is missing in {section.where}: its transitions need a first status")
        return
    if not all(item.sources for item in transitions.values()):
        return  # there is a finding already
    sources = {status for item in transitions.values() for status in item.sources}
    if transitions and initial not in sources:
        section.error("initial", f"no transition leaves the status `{initial}`{did_you_mean(initial, sources)}")
        return  # what cannot be reached follows from it
    _check_reach(section, {initial}, transitions)


def _check_reach(section: Section, reached: set[str], transitions: Mapping[str, TransitionDeclaration]) -> None:
    """Report statuses that nothing leads to; each counts as reached from then on: what lies behind it follows from it."""
    nodes = {event: node for event, _, node in section.entries("transitions")}
    for event, transition in transitions.items():
        for index, status in enumerate(transition.sources):
            while more := {item.target for item in transitions.values() if reached.intersection(item.sources)} - reached:
                reached |= more
            if status not in reached:
                line = nodes[event].line_at(["from", index])
                others = {item.target for item in transitions.values()} | reached
                hint = did_you_mean(status, others - {status})
                section.report.error(line, f"no transition reaches the status `{status}`{hint} ({section.where})")
                reached.add(status)


def _upgrade(section: Section, schema_version: int) -> str:
    """Return the method that brings older data to the present version; it is there if and only if there can be such data."""
    method = section.text("upgrade")
    if "upgrade" not in section:
        if schema_version > 1 and not section.is_misspelt("upgrade"):
            section.error(
                "schema_version",
                f"`schema_version: {schema_version}` needs `upgrade`: a method of the module that brings older data to it",
            )
        return ""
    if not method:
        return ""  # there is a finding already
    if not _METHOD.fullmatch(method):
        section.error("upgrade", "`upgrade` must name a public method of the module")
    elif schema_version == 1:
        section.error("upgrade", "`upgrade` is never asked while `schema_version` is 1")
    return method


def _before(section: Section, module: str, transitions: Mapping[str, TransitionDeclaration]) -> dict[str, BeforeHook]:
    allowed = (*_OPERATIONS, *transitions)
    hooks = section.section("before", allowed)
    before: dict[str, BeforeHook] = {}
    for operation, _, node in section.entries("before"):
        if operation in allowed:
            before[operation] = _hook(hooks, operation, node, module)
    return before


def _hook(hooks: Section, operation: str, node: Node, module: str) -> BeforeHook:
    method, on_unavailable = node.value, "deny"
    if isinstance(method, dict):
        hook = Section(node, hooks.report, f"before hook of {operation}", HOOK_KEYS)
        method = hook.text("method", required=True)
        on_unavailable = hook.text("on_unavailable", "deny")
        if on_unavailable not in {"deny", "allow"}:
            hook.error("on_unavailable", "`on_unavailable` must be deny or allow")
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        hooks.error(operation, f"`{operation}` must name a public method of the module")
        return BeforeHook(module, "", on_unavailable)
    return BeforeHook(module, method, on_unavailable)
