"""Tests wait in one place for what they cannot be told of: `stylobate.testing.until`."""

import ast
from pathlib import Path

from stylobate.testing.syntax import tree_of, trees_with

ROOT = Path(__file__).parents[2]
FOLDERS = ("libs/common/tests", "libs/common/stylobate/testing", "modules", "tests", *ROOT.glob("services/*/tests"))
ITSELF = "until.py"
"""Holds the waits themselves."""


def _is_sleep(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    call = call.value if isinstance(call, ast.Await) else call
    if not isinstance(call, ast.Call) or ast.unparse(call.func).rpartition(".")[2] != "sleep":
        return False
    pause = call.args[0]
    return ast.unparse(pause) != "0" and not isinstance(pause, ast.Call)  # a turn of the loop; as long as a server asks for


def _is_way_out(statement: ast.stmt) -> bool:
    ends = ast.Return | ast.Break | ast.Raise
    return isinstance(statement, ast.If) and all(isinstance(found, ends) for found in statement.body)


def polls_in(tree: ast.Module) -> list[int]:
    """Return the lines of loops that do nothing but sleep until something holds."""
    return [
        loop.lineno
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While | ast.For | ast.AsyncFor)
        and any(map(_is_sleep, loop.body))
        and all(_is_sleep(statement) or _is_way_out(statement) for statement in loop.body)
    ]


def test_the_search_finds_polls_and_nothing_else() -> None:
    """A sleep in a loop with a condition, or with a way out; not one that does something in each turn."""
    for poll in (
        "while not done():\n    await asyncio.sleep(0.01)",
        "while True:\n    if done():\n        return\n    time.sleep(1)",
        "for _ in range(9):\n    if done():\n        break\n    await sleep(1)",
    ):
        assert polls_in(tree_of(poll)) == [1]
    for other in ("while not done():\n    push()\n    await asyncio.sleep(1)", "while not done():\n    await asyncio.sleep(0)"):
        assert polls_in(tree_of(other)) == []


def test_no_test_polls_by_hand() -> None:
    """Each would have a pause, an end and a text of its own."""
    files = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.name != ITSELF)
    found = {f"{path.relative_to(ROOT)}:{line}" for path, tree in trees_with(files, "sleep") for line in polls_in(tree)}
    assert found == set()
