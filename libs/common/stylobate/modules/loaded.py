"""A module that is ready to run: declaration, instance, bound actions and hooks; and the examination that comes before."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import SecretStr

from stylobate.config import Sources
from stylobate.declarations.model import (
    ActionDeclaration,
    EffectDeclaration,
    Finding,
    ModuleDeclaration,
    NamespaceDeclaration,
    Severity,
)
from stylobate.declarations.parameters import RouteInput
from stylobate.declarations.route import BODILESS, Route
from stylobate.declarations.section import did_you_mean
from stylobate.modules.agreement import ASKED, UNREAD, disagreements
from stylobate.modules.base import BaseModule
from stylobate.modules.binding import BoundAction
from stylobate.modules.coded import CodedModule
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.events import HookMark, check_pattern, subscriptions_of
from stylobate.modules.importing import code_finding
from stylobate.modules.secrets import ModuleSecrets
from stylobate.modules.settings import resolve_settings
from stylobate.modules.signature import (
    HandlerSignature,
    check_hook,
    check_projection,
    check_upgrade,
    handler_signature,
    life_problems,
    line_of,
)

HookMethod = Callable[..., Awaitable[Any]]
UpgradeMethod = Callable[[Any, int], Any]
"""Takes data as it is stored and the schema version that it was written under; returns data of today. Pure."""


@dataclass(frozen=True, slots=True)
class BoundHook:
    """One subscription of a module's method to a type of events."""

    name: str
    """Stable over restarts and releases: the hook's position is kept under it."""
    method: HookMethod
    subscription: HookMark


@dataclass(slots=True)
class Examination:
    """What was found in a module's class."""

    declaration: ModuleDeclaration
    file: str
    """The module's code."""
    owner: type[BaseModule]
    signatures: dict[str, HandlerSignature] = field(default_factory=dict)
    """By action."""
    findings: list[Finding] = field(default_factory=list)

    def note(self, method: str, problem: str, severity: Severity = Severity.ERROR) -> None:
        """Note what is wrong with a method, where it is written."""
        self.findings.append(Finding(self.file, line_of(self.owner, method), problem, severity))


def examine(declaration: ModuleDeclaration, owner: type[BaseModule] | None, types: Collection[str] | None = None) -> Examination:
    """Hold what the module declares against its class: handlers, before-hooks, hooks, its life. Runs none of its methods.

    :param sources: of settings (the environment alone) and secrets.
        :param types: of all events that there ever are; None: not known.
    """
    result = Examination(declaration, str(declaration.folder / "module.py"), owner or BaseModule)
    if owner is None:
        if declaration.actions or declaration.projections or any(one.before or one.upgrade for one in declaration.namespaces):
            said = "missing; the module declares actions, hooks, projections or an upgrade"
            result.findings.append(Finding(result.file, 0, said))
        return result
    for name, problem in life_problems(owner).items():
        result.note(name, problem)
    for action in declaration.actions:
        if action.handler:  # else there is a finding already
            _examine_handler(action, result)
    _examine_hooks(result, types)
    _examine_projections(result)
    return result


def _examine_projections(result: Examination) -> None:
    for projection in result.declaration.projections:
        try:
            if projection.method:  # else there is a finding already
                check_projection(result.owner, projection.method)
        except TypeError as error:
            file = str(result.declaration.folder / "states.yaml")
            result.findings.append(Finding(file, projection.line, f"projection {projection.name}: {error}"))


def _examine_handler(action: ActionDeclaration, result: Examination) -> None:
    try:
        signature = handler_signature(result.owner, action.handler)
    except TypeError as error:
        if hasattr(result.owner, action.handler) and not hasattr(BaseModule, action.handler):
            result.note(action.handler, f"{action.name}: {error}")
        else:
            result.findings.append(Finding(action.file, action.line, f"{action.name}: {error}"))
        return
    result.signatures[action.name] = signature
    if action.input is not None and not signature.takes_input:
        result.note(action.handler, f"{action.name} declares an input that its handler does not take")
    elif action.route and action.input is None:
        try:
            _check_route(Route.parse(action.route), signature)
        except ValueError as error:
            result.findings.append(Finding(action.file, action.line, f"{action.name}: {action.route}: {error}"))
    _check_agreement(action, signature, result)
    for name in signature.bare:
        if name == "return" and action.output is None:
            text = (
                f"{action.name}: nothing says what {action.handler} returns; to have it checked annotate it or declare `output`"
            )
            result.note(action.handler, text, Severity.WARNING)
        elif name != "return" and action.input is None:
            text = f"{action.name}: nothing says what `{name}` is; annotate it (`Any` takes all), or declare `input`"
            result.note(action.handler, text)


def _check_agreement(action: ActionDeclaration, signature: HandlerSignature, result: Examination) -> None:
    """Note where a declared schema and the handler's annotation cannot both be met."""
    said = f"{action.name}: `{{}}` of the {{}} {{}}; {action.handler} and the schema must say the same"
    if action.input is not None and signature.input.schema is not None:
        read = list(disagreements(action.input, signature.input.schema, is_whole=False))
        broken = [found for found in read if found.problem != UNREAD]
        for found in broken or read:
            problem = {
                ASKED: f"is asked for by the annotation of {action.handler}, and the schema lets nobody send it",
                UNREAD: "may be sent, and is passed over: the annotation has no such field",
            }.get(found.problem, f"is {found.problem}")
            severity = Severity.WARNING if found.problem == UNREAD else Severity.ERROR
            result.note(action.handler, said.format(found.pointer, "input", problem), severity)
    if action.output is not None and signature.output.schema is not None:
        for found in disagreements(signature.output.schema, action.output, is_whole=True):
            problem = {
                ASKED: "is required by the schema, and the annotation has no such field",
                UNREAD: "is returned, and the schema does not have it",
            }.get(found.problem, f"is {found.problem}")
            result.note(action.handler, said.format(found.pointer, "output", problem))


def _check_route(route: Route, signature: HandlerSignature) -> None:
    """Raise ValueError where a request for the route cannot say what the handler's annotation asks for."""
    RouteInput.of(route, signature.input.schema)
    if signature.takes_input and signature.input.schema is None and route.method in BODILESS:
        raise ValueError(f"the input of a {route.method} stands in the URL: it needs a schema, or an annotation that gives one")


def _examine_hooks(result: Examination, types: Collection[str] | None) -> None:
    owner, actions = result.owner, {action.name: action for action in result.declaration.actions}
    for namespace in result.declaration.namespaces:
        for effect in namespace.effects:
            if (problem := _effect_problem(effect, actions)) is not None:
                result.findings.append(Finding(namespace.file, effect.line, f"{effect.moment} {effect.of}: {problem}"))
        _examine_asked(namespace, result)
    for name, subscriptions in _subscribed(owner):
        try:
            check_hook(owner, name)
            for subscription in subscriptions if types is not None else ():
                check_pattern(subscription.pattern, types or ())
        except TypeError as error:
            result.note(name, str(error))


def _examine_asked(namespace: NamespaceDeclaration, result: Examination) -> None:
    """Examine what the state service asks of the module: before-hooks and upgrades."""
    asked = [(f"before {operation}", hook.method, check_hook) for operation, hook in namespace.before.items()]
    for what, method, check in (*asked, ("upgrade", namespace.upgrade, check_upgrade)):
        try:
            if method:  # else there is a finding already
                check(result.owner, method)
        except TypeError as error:
            result.findings.append(Finding(namespace.file, namespace.line, f"{what} of {namespace.name}: {error}"))


class LoadedModule:
    """A module, bound. Its life (`initialize`, `dispose`) is its owner's business."""

    def __init__(self, declaration: ModuleDeclaration, instance: BaseModule, signatures: Mapping[str, HandlerSignature]) -> None:
        self.declaration = declaration
        self.name = declaration.name
        self.instance = instance
        self.actions = {a.name: BoundAction(a, instance, signatures[a.name]) for a in declaration.actions}
        self.hooks = tuple(
            BoundHook(f"{declaration.name}.{name}/{subscription.pattern}", getattr(instance, name), subscription)
            for name, subscriptions in _subscribed(type(instance))
            for subscription in subscriptions
        )
        self.before: dict[str, HookMethod] = {
            hook.method: getattr(instance, hook.method)
            for namespace in declaration.namespaces
            for hook in namespace.before.values()
            if hook.module == declaration.name
        }
        """Only these methods answer to CallHook: those that a declaration names."""
        self.upgrades: dict[str, UpgradeMethod] = {
            namespace.upgrade: getattr(instance, namespace.upgrade) for namespace in declaration.namespaces if namespace.upgrade
        }
        """Likewise to UpgradeStates."""
        self.projections: dict[str, HookMethod] = {
            projection.name: getattr(instance, projection.method) for projection in declaration.projections
        }

    @classmethod
    def load(cls, module: CodedModule, sources: Sources, types: Collection[str] | None = None) -> Self:
        """Examine, resolve the settings, make the instance and let it configure itself.

        :param types: of all events that there ever are; None: not known.
        :raises ModuleLoadError: with all findings.
        """
        if module.error is not None:
            raise module.error
        declaration, owner = module.declaration, module.owner
        examination = examine(declaration, owner, types)
        found = (*module.findings, *examination.findings)
        errors = [finding for finding in found if finding.severity is Severity.ERROR]
        settings: dict[str, Any] = {}
        try:
            settings = resolve_settings(declaration, sources.environ)
        except ModuleLoadError as error:
            errors += error.findings
        secrets: Mapping[str, SecretStr] = {}
        try:
            secrets = ModuleSecrets(declaration, sources)
        except ModuleLoadError as error:
            errors += error.findings
        if errors:
            raise ModuleLoadError(declaration.name, errors)
        try:
            instance = (owner or BaseModule)(declaration.name, settings)
            instance.secrets = secrets
            instance.configure()
            return cls(declaration, instance, examination.signatures)
        except BaseException as error:  # whatever it raises, it is this module that does not start
            finding = code_finding(error, declaration.folder / "module.py", "does not start")
            raise ModuleLoadError(declaration.name, [finding]) from error


def _effect_problem(effect: EffectDeclaration, actions: Mapping[str, ActionDeclaration]) -> str | None:
    action = actions.get(effect.action)
    if action is None:
        return f"there is no action `{effect.action}`{did_you_mean(effect.action, actions)}"
    return None if action.takes_keys else f"{action.name} is not idempotent, and may be called again with the same key"


def _subscribed(owner: type[BaseModule]) -> Iterator[tuple[str, tuple[HookMark, ...]]]:
    for name in dir(owner):
        if subscriptions := subscriptions_of(getattr(owner, name, None)):
            yield name, subscriptions
