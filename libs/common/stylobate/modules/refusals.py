"""The reasons that a module refuses with, as its code spells them out: for their pages and for the OpenAPI document."""

import ast
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from stylobate.modules.errors import is_reason

_CALLS = ("refuse", "RefusedError")
_TESTS = ("tests", "__pycache__")


@cache
def refusals_of(folder: Path) -> dict[str, str]:
    """Return the sentence by reason of each ``ctx.refuse("…", "…")`` and each error class with a ``reason``.

    Read from the source, once per folder. A reason that is put together when the code runs is not among them.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        if set(path.relative_to(folder).parts) & set(_TESTS):
            continue
        with suppress(SyntaxError):  # a file that no module imports, or else the module is not loaded
            for reason, detail in _spelled(ast.parse(path.read_bytes())):
                found[reason] = found.get(reason) or detail
    return dict(sorted(found.items()))


def _spelled(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[ast.Constant(value=str(reason)), *rest]):
                if name in _CALLS and is_reason(reason):
                    yield reason, next((_text(argument) for argument in rest), "")
            case ast.ClassDef(body=body):
                texts = {
                    target.id: _text(value)
                    for statement in body
                    if isinstance(statement, ast.Assign) and (value := statement.value)
                    for target in statement.targets
                    if isinstance(target, ast.Name)
                }
                if is_reason(reason := texts.get("reason", "")):
                    yield reason, texts.get("default_detail", "")


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
