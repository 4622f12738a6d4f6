"""Projections of a module: ``projections`` in states.yaml."""

import re
from collections.abc import Mapping, Sequence

from stylobate.declarations.context import ModuleContext
from stylobate.declarations.model import NamespaceDeclaration, ProjectionDeclaration
from stylobate.declarations.section import Section, did_you_mean

KEYS = ("from", "method")
_METHOD = re.compile(r"[a-z][a-z0-9_]*", re.IGNORECASE)
_CLOSED = ("create", "write", "delete", "assign")


def read_projections(
    section: Section, module: ModuleContext, namespaces: Sequence[NamespaceDeclaration]
) -> tuple[ProjectionDeclaration, ...]:
    """Read them; what is wrong stands in the report. Whether the methods are there is seen when the module is loaded."""
    own = {namespace.name: namespace for namespace in namespaces}
    projections = []
    for name, line, node in section.entries("projections"):
        one = Section(node, section.report, f"projection {name}", KEYS)
        sources = one.texts("from", or_one=True)
        method = one.text("method", required=True)
        if not sources and not one.is_misspelt("from"):
            one.report.error(line, f"`from` is missing in {one.where}: the namespaces whose events it is made of")
        if method and not _METHOD.fullmatch(method):
            one.error("method", "`method` must name a public method of the module")
        module.report.namespaces += [one.report.reference(source, at) for source, at in sources]
        if name not in own:
            if "namespaces" not in module.report.doubtful:
                one.report.error(line, f"{one.where} makes the namespace `{name}`, which is missing{did_you_mean(name, own)}")
        elif problem := _unfit(own[name]):
            one.report.error(own[name].line, f"namespace {name} is made by a projection: {problem}")
        projections.append(ProjectionDeclaration(name, module.name, tuple(source for source, _ in sources), method, line))
    _check_circles(section, {projection.name: projection for projection in projections})
    return tuple(projections)


def _unfit(namespace: NamespaceDeclaration) -> str:
    """Return why a projection cannot make the namespace; empty where it can."""
    open_to = [key for key in _CLOSED if getattr(namespace.access, key).terms]
    has_status = namespace.initial or namespace.transitions
    faults = {
        f"nobody else may change it, so leave out `access: {(*open_to, '')[0]}`": open_to,
        "its objects are made again of events, so leave out `encryption: per_owner`": namespace.per_owner,
        "it is kept as long as its events are, so leave out `durability`": namespace.ttl is not None,
        "its objects have no status, so leave out `initial` and `transitions`": has_status,
        "nobody is asked before a change, so leave out `before`": namespace.before,
        "it is made anew by `stylobate projections rebuild`, so leave out `upgrade`": namespace.upgrade,
        "a unique index could refuse what has happened already, so leave out `unique`": any(
            index.is_unique for index in namespace.indexes
        ),
    }
    return next((fault for fault, is_there in faults.items() if is_there), "")


def _check_circles(section: Section, projections: Mapping[str, ProjectionDeclaration]) -> None:
    for name, projection in projections.items():
        seen, todo = set[str](), list(projection.sources)
        while todo:
            source = todo.pop()
            if source == name:
                section.report.error(projection.line, f"projection {name} is made of its own events")
                break
            if source not in seen and source in projections:
                seen.add(source)
                todo += projections[source].sources
