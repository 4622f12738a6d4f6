"""Signatures: whether a method can be called as a handler or a hook, and the shapes of what goes in and comes out."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stylobate.modules.base import BaseModule
from stylobate.modules.context import ActionContext, HookContext
from stylobate.modules.shapes import Shape, shape_of
from stylobate.modules.view import View
from stylobate.outbox.event import Event

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_EMPTY = inspect.Parameter.empty
_WITH_INPUT = 2


@dataclass(frozen=True, slots=True)
class HandlerSignature:
    """What a handler's signature says."""

    takes_input: bool
    """Whether it is called with ``(ctx, input)``; else with ``(ctx)``."""
    bare: tuple[str, ...]
    """Of the input's parameter and ``return``, those that have no annotation."""
    input: Shape
    output: Shape


def handler_signature(owner: type[BaseModule], name: str) -> HandlerSignature:
    """Read the handler. Raises TypeError with a sentence for the author when it cannot be one."""
    function = _method(owner, name)
    parameters = _parameters(function)
    if not 1 <= len(parameters) <= _WITH_INPUT:
        raise TypeError(f"{name} must take (self, ctx, input) or, for an action without input, (self, ctx)")
    hints = _hints(function)
    _check_order(name, parameters, hints, ActionContext)
    takes_input = len(parameters) == _WITH_INPUT
    return HandlerSignature(
        takes_input=takes_input,
        bare=tuple(name for name in (*(parameter.name for parameter in parameters[1:]), "return") if name not in hints),
        input=shape_of(hints.get(parameters[1].name, _EMPTY)) if takes_input else Shape(None, None),
        output=shape_of(hints.get("return", _EMPTY), output=True),
    )


def check_hook(owner: type[BaseModule], name: str) -> None:
    """Check that the method can be a hook. Raises TypeError with a sentence for the author when it cannot."""
    function = _method(owner, name)
    parameters = _parameters(function)
    if len(parameters) != _WITH_INPUT:
        raise TypeError(f"{name} must take (self, ctx, event)")
    _check_order(name, parameters, _hints(function), HookContext, Event)


def check_upgrade(owner: type[BaseModule], name: str) -> None:
    """Check that the method can upgrade data. Raises TypeError with a sentence for the author when it cannot."""
    function = _method(owner, name, is_async=False)
    if len(_parameters(function)) != _WITH_INPUT:
        raise TypeError(f"{name} must take (self, data, from_version)")


def check_projection(owner: type[BaseModule], name: str) -> None:
    """Check that the method can make a projection. Raises TypeError with a sentence for the author when it cannot."""
    function = _method(owner, name)
    parameters = _parameters(function)
    if len(parameters) != _WITH_INPUT:
        raise TypeError(f"{name} must take (self, view, event)")
    _check_order(name, parameters, _hints(function), View, Event)


def _check_order(name: str, parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any], *given: type) -> None:
    """Raise TypeError where a parameter is annotated with another class than it gets; most often two are swapped."""
    for parameter, kind in zip(parameters, given, strict=False):
        said = hints.get(parameter.name, object)
        if said is Any or not inspect.isclass(said) or getattr(said, "_is_protocol", False):
            continue
        if not issubclass(kind, said):
            first = "view" if View in given else "ctx"
            expected = f"(self, {first}, {'event' if len(given) == _WITH_INPUT else 'input'})"
            raise TypeError(f"{name} must take {expected}: `{parameter.name}` gets {kind.__name__}, not {said.__name__}")


_PLAIN, _ASYNC, _YIELDING = "a plain def: nobody waits for it", "async def", "async def, and yield what it gives out"
_LIFE = {"configure": _PLAIN, **dict.fromkeys(("initialize", "dispose", "health_check", "delete_user"), _ASYNC)}
_LIFE["export_user"] = _YIELDING
"""The methods of a module's life, and how each is written."""
_GIVEN = dict.fromkeys(("delete_user", "export_user"), ("ctx", "user_id"))
"""What they are given beside ``self``."""


def life_problems(owner: type[BaseModule]) -> dict[str, str]:
    """Return what is wrong with the methods of the module's life, as a sentence by method."""
    found: dict[str, str] = {}
    for name, form in _LIFE.items():
        function = inspect.getattr_static(owner, name)
        if not inspect.isfunction(function):
            found[name] = f"{name} must be a plain method"
        elif _form(function) != form:
            found[name] = f"{name} must be written with {form}"
        elif name in _GIVEN:
            if not _takes(function, _GIVEN[name]):
                found[name] = f"{name} takes self, {', '.join(_GIVEN[name])}"
        elif needed := [p.name for p in list(inspect.signature(function).parameters.values())[1:] if p.default is _EMPTY]:
            found[name] = f"{name} takes nothing but self, not {', '.join(needed)}"
    return found


def _form(function: Callable[..., Any]) -> str:
    if inspect.isasyncgenfunction(function):
        return _YIELDING
    return _ASYNC if inspect.iscoroutinefunction(function) else _PLAIN


def _takes(function: Callable[..., Any], given: Sequence[str]) -> bool:
    try:
        inspect.signature(function).bind(None, *given)
    except TypeError:
        return False
    return True


def line_of(owner: type[BaseModule], name: str) -> int:
    """Return the line where the method is written; 0 when that is not known."""
    code = getattr(inspect.unwrap(getattr(owner, name, None) or owner), "__code__", None)
    return code.co_firstlineno if code is not None else 0


def _method(owner: type[BaseModule], name: str, *, is_async: bool = True) -> Callable[..., Any]:
    function = inspect.getattr_static(owner, name, None)
    if function is None:
        raise TypeError(f"{owner.__name__} has no method {name}")
    if name.startswith("_") or hasattr(BaseModule, name):
        raise TypeError(f"{name} is not for callers: it is private or belongs to the module's life")
    if not inspect.isfunction(function):
        raise TypeError(f"{name} must be a plain method")
    if inspect.iscoroutinefunction(function) is not is_async:
        raise TypeError(f"{name} must be written with {'async def' if is_async else 'a plain def: it only computes'}")
    return function


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return what comes after ``self`` and has to be given by position."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    odd = [p.name for p in parameters if p.kind not in _POSITIONAL and (p.kind is not p.KEYWORD_ONLY or p.default is _EMPTY)]
    if odd:
        raise TypeError(f"{function.__name__} has parameters that nothing fills: {', '.join(odd)}")
    return [p for p in parameters if p.kind in _POSITIONAL]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except BaseException as error:  # they are evaluated, so they may do anything
        told = error if isinstance(error, Exception) else type(error).__name__
        raise TypeError(f"{function.__name__}: an annotation cannot be read: {told}") from error
