"""A module that is ready to run: declaration, instance, bound actions and hooks; and the examination that comes before."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from stylobate.declarations.model import ActionDeclaration, Finding, ModuleDeclaration
from stylobate.declarations.parameters import RouteInput
from stylobate.declarations.route import BODILESS, Route
from stylobate.modules.base import BaseModule
from stylobate.modules.binding import BoundAction
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.events import Subscription, subscriptions_of
from stylobate.modules.importing import module_class
from stylobate.modules.settings import resolve_settings
from stylobate.modules.signature import HandlerSignature, check_hook, handler_signature, line_of

HookMethod = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class BoundHook:
    """One subscription of a module's method to a type of events."""

    name: str
    """Stable over restarts and releases: the hook's position is kept under it."""
    method: HookMethod
    subscription: Subscription


@dataclass(slots=True)
class Examination:
    """What was found in a module's class."""

    signatures: dict[str, HandlerSignature] = field(default_factory=dict)
    """By action."""
    findings: list[Finding] = field(default_factory=list)


def examine(declaration: ModuleDeclaration, owner: type[BaseModule] | None) -> Examination:
    """Hold what the module declares against its class: handlers, before-hooks, hooks. Runs none of its code."""
    result = Examination()
    file = str(declaration.folder / "module.py")
    if owner is None and (declaration.actions or any(namespace.before for namespace in declaration.namespaces)):
        result.findings.append(Finding(file, 0, "missing; the module declares actions or hooks"))
    elif owner is not None:
        for action in declaration.actions:
            _examine_handler(action, owner, file, result)
        _examine_hooks(declaration, owner, file, result)
    return result


def _examine_handler(action: ActionDeclaration, owner: type[BaseModule], file: str, result: Examination) -> None:
    try:
        signature = handler_signature(owner, action.handler)
    except TypeError as error:
        place = (file, line_of(owner, action.handler)) if hasattr(owner, action.handler) else (action.file, action.line)
        result.findings.append(Finding(*place, f"{action.name}: {error}"))
        return
    result.signatures[action.name] = signature
    if action.input is not None and not signature.takes_input:
        problem = f"{action.name} declares an input that its handler does not take"
        result.findings.append(Finding(file, line_of(owner, action.handler), problem))
    elif action.route and action.input is None:
        try:
            _check_route(Route.parse(action.route), signature)
        except ValueError as error:
            result.findings.append(Finding(action.file, action.line, f"{action.name}: {action.route}: {error}"))


def _check_route(route: Route, signature: HandlerSignature) -> None:
    """Raise ValueError where a request for the route cannot say what the handler's annotation asks for."""
    RouteInput.of(route, signature.input.schema)
    if signature.takes_input and signature.input.schema is None and route.method in BODILESS:
        raise ValueError(f"the input of a {route.method} stands in the URL: it needs a schema, or an annotation that gives one")


def _examine_hooks(declaration: ModuleDeclaration, owner: type[BaseModule], file: str, result: Examination) -> None:
    for namespace in declaration.namespaces:
        for operation, hook in namespace.before.items():
            try:
                check_hook(owner, hook.method)
            except TypeError as error:
                problem = f"before {operation} of {namespace.name}: {error}"
                result.findings.append(Finding(namespace.file, namespace.line, problem))
    for name, _ in _subscribed(owner):
        try:
            check_hook(owner, name)
        except TypeError as error:
            result.findings.append(Finding(file, line_of(owner, name), str(error)))


class LoadedModule:
    """A module, imported and bound. Its life (`initialize`, `dispose`) is its owner's business."""

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

    @classmethod
    def load(cls, declaration: ModuleDeclaration, environ: Mapping[str, str], packages: Mapping[Path, str] | None = None) -> Self:
        """Import, examine, resolve the settings, make the instance and let it configure itself.

        :raises ModuleLoadError: with all findings.
        """
        owner = module_class(declaration, packages)
        examination = examine(declaration, owner)
        if examination.findings:
            raise ModuleLoadError(declaration.name, examination.findings)
        settings = resolve_settings(declaration, environ)
        try:
            instance = (owner or BaseModule)(declaration.name, settings)
            instance.configure()
            return cls(declaration, instance, examination.signatures)
        except Exception as error:
            finding = Finding(str(declaration.folder / "module.py"), 0, f"does not start: {type(error).__name__}: {error}")
            raise ModuleLoadError(declaration.name, [finding]) from error


def _subscribed(owner: type[BaseModule]) -> Iterator[tuple[str, tuple[Subscription, ...]]]:
    for name in dir(owner):
        if subscriptions := subscriptions_of(getattr(owner, name, None)):
            yield name, subscriptions
