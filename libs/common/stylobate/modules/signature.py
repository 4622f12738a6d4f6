"""Signatures: whether a method can be called as a handler or a hook, and the shapes of what goes in and comes out."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stylobate.modules.base import BaseModule
from stylobate.modules.shapes import Shape, shape_of

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_EMPTY = inspect.Parameter.empty
_WITH_INPUT = 2


@dataclass(frozen=True, slots=True)
class HandlerSignature:
    """What a handler's signature says."""

    takes_input: bool
    """Whether it is called with ``(ctx, input)``; else with ``(ctx)``."""
    input: Shape
    output: Shape


def handler_signature(owner: type[BaseModule], name: str) -> HandlerSignature:
    """Read the handler. Raises TypeError with a sentence for the author when it cannot be one."""
    function = _method(owner, name)
    parameters = _parameters(function)
    if not 1 <= len(parameters) <= _WITH_INPUT:
        raise TypeError(f"{name} must take (self, ctx, input) or, for an action without input, (self, ctx)")
    hints = _hints(function)
    takes_input = len(parameters) == _WITH_INPUT
    return HandlerSignature(
        takes_input=takes_input,
        input=shape_of(hints.get(parameters[1].name, _EMPTY)) if takes_input else Shape(None, None),
        output=shape_of(hints.get("return", _EMPTY), output=True),
    )


def check_hook(owner: type[BaseModule], name: str) -> None:
    """Check that the method can be a hook. Raises TypeError with a sentence for the author when it cannot."""
    if len(_parameters(_method(owner, name))) != _WITH_INPUT:
        raise TypeError(f"{name} must take (self, ctx, event)")


def line_of(owner: type[BaseModule], name: str) -> int:
    """Return the line where the method is written; 0 when that is not known."""
    code = getattr(inspect.unwrap(getattr(owner, name, None) or owner), "__code__", None)
    return code.co_firstlineno if code is not None else 0


def _method(owner: type[BaseModule], name: str) -> Callable[..., Any]:
    function = inspect.getattr_static(owner, name, None)
    if function is None:
        raise TypeError(f"{owner.__name__} has no method {name}")
    if name.startswith("_") or hasattr(BaseModule, name):
        raise TypeError(f"{name} is not for callers: it is private or belongs to the module's life")
    if not inspect.isfunction(function):
        raise TypeError(f"{name} must be a plain method")
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} must be written with async def")
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
    except Exception as error:
        raise TypeError(f"{function.__name__}: an annotation cannot be read: {error}") from error
