"""Writes docs/reference/modules.md: what module code and its tests use, read from the classes themselves."""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from stylobate import modules, testing
from stylobate.modules.context import ActionContext, HookContext
from stylobate.testing.modules import ActionTester, TestUser

_PAGE = """# What module code uses

Signatures, defaults and what is raised, of everything that handlers, hooks and tests of modules touch. Errors are named by
their `reason`; [errors](errors.md) says what each means. Durations are `timedelta`, moments `datetime` in UTC, unless a unit
is named. Written by `make generate` from the classes.
"""
_SECTIONS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    (
        "`ctx`",
        "What handlers and hooks get first; they differ in whose name they run.",
        (ActionContext, HookContext),
    ),
    (
        "`ctx.state`",
        "",
        (modules.StateClient, modules.Transaction, modules.StateObject, modules.StateChange, modules.WatchEvent),
    ),
    ("`ctx.users`", "", (modules.UsersClient, modules.User)),
    ("`ctx.database`", "[How to](../how-to/keep-data-of-a-module.md).", (modules.ModuleDatabase,)),
    ("A module", "", (modules.BaseModule, modules.Health, modules.action, modules.on)),
    ("An event", "What a hook gets after `ctx`.", (modules.Event,)),
    ("Refusals", "", (modules.RefusedError, modules.StylobateError, modules.Violation)),
    ("The tester", "`from stylobate.testing.modules import ActionTester`", (ActionTester, TestUser)),
    (
        "Clock and ids of tests",
        "`from stylobate.testing import FakeClock, sequence_ids`",
        (testing.FakeClock, testing.sequence_ids),
    ),
)
_HIDDEN = frozenset({"json", "parse", "new", "of", "partition", "as_dict", "registry", "sent", "finer_status", "http_fields"})


def page() -> str:
    """Return the page."""
    parts = [_PAGE]
    for title, words, things in _SECTIONS:
        parts.append(f"## {title}\n")
        if words:
            parts.append(f"{words}\n")
        for thing in things:
            parts += _class(thing) if isinstance(thing, type) else _function(thing.__name__, thing, "###")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _class(kind: type) -> Iterator[str]:
    yield f"### {kind.__name__}\n"
    yield _prose(kind.__doc__ or "")
    if kind is HookContext:
        return
    fields = list(_fields(kind)) if kind is not modules.RefusedError else []  # they are those of its base, which follows
    if fields:
        yield "| attribute | type | |\n|---|---|---|"
        yield from (f"| `{name}` | `{_cell(annotation)}` | {_cell(text)} |" for name, annotation, text in fields)
        yield ""
    if (
        "__init__" in vars(kind)
        and not dataclasses.is_dataclass(kind)
        and kind not in {modules.ModuleDatabase, modules.StateClient, modules.UsersClient, ActionTester, TestUser}
    ):
        yield from _function(kind.__name__, vars(kind)["__init__"], "####")
    for name, member in _members(kind):
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) and name not in _HIDDEN and (name == "__call__" or not name.startswith("_")):
            yield from _function(name.replace("__call__", "clock"), function, "####")


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what the class and its own bases define, bases first."""
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("stylobate.") and base is not Exception:
            yield from vars(base).items()


def _fields(kind: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and description of attributes: properties, and annotated ones with a sentence below them."""
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("stylobate."):
            continue
        for name, member in vars(base).items():
            if isinstance(member, property) and not name.startswith("_") and name not in _HIDDEN:
                yield (
                    name,
                    _annotation(inspect.signature(member.fget or page).return_annotation),
                    _prose(member.__doc__ or "", one_line=True),
                )
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        statements: list[ast.stmt] = []
        for statement in body.body if isinstance(body, ast.ClassDef) else ():
            statements.append(statement)
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                statements += statement.body
        yield from _annotated(statements)


def _annotated(statements: list[ast.stmt]) -> Iterator[tuple[str, str, str]]:
    for statement, after in pairwise([*statements, ast.Pass()]):
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            text = _prose(after.value.value, one_line=True)
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
            name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
            if name and not name.startswith("_") and name not in _HIDDEN and (text or isinstance(target, ast.Name)):
                default = f" = {ast.unparse(statement.value)}" if statement.value and isinstance(target, ast.Name) else ""
                yield name, ast.unparse(statement.annotation).strip("'") + default, text
        elif isinstance(statement, ast.Assign) and text and isinstance(statement.targets[0], ast.Attribute):
            yield statement.targets[0].attr, "", text


def _function(name: str, function: Callable[..., Any], level: str) -> Iterator[str]:
    code = inspect.unwrap(function)
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(code))).body
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        raise TypeError(f"{name} is not a function")
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args))
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None and node.name != "__init__" else ""
    prefix = ""
    if code is not function:
        prefix = "async with "
    elif inspect.isasyncgenfunction(code):
        prefix = "async for "
    elif inspect.iscoroutinefunction(code):
        prefix = "await "
    yield f"{level} `{name}`\n"
    yield f"```python\n{prefix}{name}({arguments}){returns}\n```\n"
    yield _prose(function.__doc__ or "")


def _annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"(?:[a-z_]+\.)+([A-Za-z]\w*)", r"\1", text)


def _prose(text: str, *, one_line: bool = False) -> str:
    """Return a docstring as Markdown: fields as a list, roles and double quotes as code."""
    text = inspect.cleandoc(text)
    text = re.sub(r":[a-z]+:`([^`]+)`", _role, text)
    text = text.replace("``", "`")
    text = re.sub(r"^:param (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)
    text = re.sub(r"^:raises (\w+): ", r"- raises `\1`: ", text, flags=re.MULTILINE)
    text = re.sub(
        r"::\n\n((?:    .*\n?|\n)+)", lambda match: f":\n\n```python\n{textwrap.dedent(match[1]).strip()}\n```\n\n", text
    )
    return " ".join(text.split()) if one_line else f"{text}\n"


def _role(match: re.Match[str]) -> str:
    return f"`{match[1].lstrip('~.').rpartition('.')[2]}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
