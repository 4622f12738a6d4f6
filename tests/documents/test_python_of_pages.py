"""The Python of the pages names what is there, and calls it as it is called."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

ROOT = Path(__file__).parents[2]
PIECE = re.compile(r"^```python\n(?P<block>.*?)^```|python3? -c \"(?P<line>from [^\n]*)\"$", re.MULTILINE | re.DOTALL)


def pieces() -> Iterator[tuple[str, ast.Module]]:
    """Give each piece of Python of a page that can be parsed, with its place. The rest are signatures."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "services").glob("*/README.md"))):
        text = page.read_text(encoding="utf-8")
        for found in PIECE.finditer(text):
            place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}"
            try:
                yield place, ast.parse(dedent(found["block"] or found["line"]))
            except SyntaxError:
                continue


def mistakes(tree: ast.Module) -> Iterator[str]:
    """Give what a piece imports from the platform that is not there, and each call of it that it refuses."""
    imported: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stylobate":
            module = import_module(node.module or "")
            for name in node.names:
                if hasattr(module, name.name):
                    imported[name.asname or name.name] = getattr(module, name.name)
                else:
                    yield f"{node.module} has no {name.name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if not inspect.isfunction(called := imported.get(node.func.id)):
            continue
        try:
            inspect.signature(called).bind(*node.args, **{one.arg or "": one.value for one in node.keywords})
        except TypeError as error:
            yield f"{node.func.id}: {error}"


def test_pages_name_and_call_what_is_there() -> None:
    """Each place is told, so that one pass mends them."""
    found = [f"{place}: {mistake}" for place, tree in pieces() for mistake in mistakes(tree)]
    assert not found, "\n" + "\n".join(found)


def test_mistakes_are_seen() -> None:
    """One that stood in a page for days, and a name that moved."""
    call = "from stylobate.identity.service_keys import generate_service_keys\ngenerate_service_keys('keys')"
    assert list(mistakes(ast.parse(call))) == ["generate_service_keys: missing a required argument: 'names'"]
    assert list(mistakes(ast.parse("from stylobate.identity import Nobody"))) == ["stylobate.identity has no Nobody"]
