"""What can only be seen with all modules at hand: duplicates, unknown names, order of dependencies."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from stylobate.declarations.limits_check import check_rules
from stylobate.declarations.model import Finding, ModuleDeclaration, Severity
from stylobate.declarations.report import ModuleReport
from stylobate.declarations.route import Route
from stylobate.declarations.section import did_you_mean


@dataclass(frozen=True, slots=True)
class ModuleDraft:
    """A module as read, with what was found so far."""

    declaration: ModuleDeclaration
    report: ModuleReport

    @property
    def name(self) -> str:
        """The module's name."""
        return self.declaration.name


def check_names(drafts: list[ModuleDraft]) -> None:
    """Report names that two modules introduce (at the later one) and names that none introduces."""
    _check_duplicates(drafts)
    _check_routes(drafts)
    _check_limits(drafts)
    # what cannot be read may declare anything: its absence is a finding already, and who uses it is not to blame
    knows_permissions = not any("permissions" in draft.report.doubtful for draft in drafts)
    knows_namespaces = not any("namespaces" in draft.report.doubtful for draft in drafts)
    permissions = {name for draft in drafts for name in draft.declaration.permissions}
    namespaces = {namespace.name: draft.name for draft in drafts for namespace in draft.declaration.namespaces}
    ephemeral = {one.name for draft in drafts for one in draft.declaration.namespaces if one.ttl is not None}
    forgetful = {
        namespace.name
        for draft in drafts
        for namespace in draft.declaration.namespaces
        if namespace.history or namespace.deleted_for is not None
    }
    _check_handlers(drafts)
    for draft in drafts:
        for used in draft.report.permissions:
            if knows_permissions and not _is_declared(used.name, permissions):
                message = f"no module declares the permission `{used.name}`{did_you_mean(used.name, permissions)}"
                draft.report.findings.append(Finding(used.file, used.line, message))
        for used in draft.report.namespaces:
            if knows_namespaces and used.name not in namespaces:
                message = f"no module declares the state namespace `{used.name}`{did_you_mean(used.name, namespaces)}"
                draft.report.findings.append(Finding(used.file, used.line, message))
            elif used.name in ephemeral:
                message = f"the namespace `{used.name}` is ephemeral: nothing is told of its changes, so nothing can follow it"
                draft.report.findings.append(Finding(used.file, used.line, message))
        _check_projections(draft, namespaces, forgetful)


def _check_projections(draft: ModuleDraft, namespaces: Mapping[str, str], forgetful: Collection[str]) -> None:
    """Report projections of events that lose their data, and of those of a module that is not said to be depended on.

    :param namespaces: each with its module. :param forgetful: those that do not keep all.
    """
    declaration = draft.declaration
    for projection in declaration.projections:
        for source in projection.sources:
            if source in forgetful:
                message = (
                    f"projection {projection.name} needs all of `{source}`, which by its `history` or `retention` is not kept"
                )
                draft.report.findings.append(Finding(str(declaration.folder / "states.yaml"), projection.line, message))
            owner = namespaces.get(source, draft.name)
            if owner != draft.name and owner not in declaration.dependencies:
                message = f"projection {projection.name} is made of `{source}` of the module {owner}: name it in `dependencies`"
                draft.report.findings.append(Finding(str(declaration.folder / "states.yaml"), projection.line, message))


def _check_handlers(drafts: list[ModuleDraft]) -> None:
    """Report rules that let handlers of a module in that there is none of, or that does not say that it uses this one."""
    by_name = {draft.name: draft.declaration for draft in drafts}
    for draft in drafts:
        for used in draft.report.handlers:
            other = by_name.get(used.name)
            if other is None:
                message = f"`actions of {used.name}`: there is no such module{did_you_mean(used.name, by_name)}"
                draft.report.findings.append(Finding(used.file, used.line, message))
            elif draft.name not in other.dependencies:
                message = (
                    f"`actions of {used.name}`: its handlers are refused all the same until its module.yaml says "
                    f"`dependencies: [{draft.name}]`"
                )
                draft.report.findings.append(Finding(used.file, used.line, message, Severity.WARNING))


def in_dependency_order(drafts: list[ModuleDraft]) -> list[ModuleDraft]:
    """Return the modules without errors, each after what it depends on; report cycles and what is missing."""
    by_name: dict[str, ModuleDraft] = {}
    for draft in drafts:
        by_name.setdefault(draft.name, draft)
    _check_dependencies(drafts, by_name)
    ordered: list[ModuleDraft] = []
    for draft in drafts:
        if not draft.report.has_errors:
            _place(draft, by_name, ordered)
    return ordered


def _introduced(draft: ModuleDraft) -> Iterator[tuple[str, str, str, int]]:
    """Yield kind, name, file and line of what must be unique among all modules."""
    declaration = draft.declaration
    yield "module", declaration.name, str(declaration.folder / "module.yaml"), 0
    for action in declaration.actions:
        yield "action", action.name, action.file, action.line
    for namespace in declaration.namespaces:
        yield "namespace", namespace.name, namespace.file, namespace.line
    for channel in declaration.channels:
        yield "channel namespace", channel.name, channel.file, channel.line


def _check_duplicates(drafts: list[ModuleDraft]) -> None:
    first: dict[tuple[str, str], str] = {}
    for draft in drafts:
        for kind, name, file, line in _introduced(draft):
            place = f"{file}:{line}" if line else file
            earlier = first.setdefault((kind, name), place)
            if earlier != place:
                draft.report.findings.append(Finding(file, line, f"the {kind} `{name}` is declared in {earlier} already"))


def _check_routes(drafts: list[ModuleDraft]) -> None:
    """Report the later of two routes that one request could mean."""
    earlier: list[tuple[Route, str]] = []
    for draft in drafts:
        for action in draft.declaration.actions:
            if not action.route:
                continue
            route = Route.parse(action.route)
            for other, place in earlier:
                if conflict := route.conflict(other):
                    message = f"the route `{route}` of {action.name} {conflict} `{other}`, declared in {place}"
                    draft.report.findings.append(Finding(action.file, action.line, message))
                    break
            earlier.append((route, f"{action.file}:{action.line}"))


def _check_limits(drafts: list[ModuleDraft]) -> None:
    """Report rules of limits that do not go together, each at the later one."""
    checked: list[ModuleDraft] = []
    for draft in drafts:
        with_it = [known.declaration for known in (*checked, draft)]
        rules = [rule for declaration in with_it for rule in declaration.limits]
        found = check_rules(rules, [action for declaration in with_it for action in declaration.actions])
        draft.report.findings += found
        if not draft.report.has_errors:
            checked.append(draft)


def _is_declared(permission: str, declared: Collection[str]) -> bool:
    """Whether the permission is declared, or is ``orders:*`` and something in that area is."""
    area = permission.removesuffix("*") if permission.endswith(":*") else ""
    return permission in declared or (bool(area) and any(name.startswith(area) for name in declared))


def _check_dependencies(drafts: list[ModuleDraft], by_name: dict[str, ModuleDraft]) -> None:
    for draft in drafts:
        for used in draft.report.dependencies:
            if used.name not in by_name:
                message = f"depends on the module `{used.name}`, which is not there{did_you_mean(used.name, by_name.keys())}"
                draft.report.findings.append(Finding(used.file, used.line, message))
            elif (cycle := _path(used.name, draft.name, by_name)) is not None:
                draft.report.findings.append(
                    Finding(used.file, used.line, f"depends on itself: {' -> '.join([draft.name, *cycle])}")
                )
    changed = True
    while changed:
        changed = False
        for draft in drafts:
            if draft.report.has_errors:
                continue
            for used in draft.report.dependencies:
                if by_name[used.name].report.has_errors:
                    message = f"depends on the module `{used.name}`, which has errors"
                    draft.report.findings.append(Finding(used.file, used.line, message, follows=True))
                    changed = True


def _path(start: str, goal: str, by_name: dict[str, ModuleDraft], seen: frozenset[str] = frozenset()) -> list[str] | None:
    """Return a shortest-first chain of dependencies from one module to another, both named, or None."""
    if start == goal:
        return [goal]
    if start in seen or start not in by_name:
        return None
    for dependency in by_name[start].declaration.dependencies:
        if (rest := _path(dependency, goal, by_name, seen | {start})) is not None:
            return [start, *rest]
    return None


def _place(draft: ModuleDraft, by_name: dict[str, ModuleDraft], ordered: list[ModuleDraft]) -> None:
    if any(placed is draft for placed in ordered):
        return
    for dependency in draft.declaration.dependencies:
        _place(by_name[dependency], by_name, ordered)
    ordered.append(draft)
