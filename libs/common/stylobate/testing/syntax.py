"""Reading code as syntax trees, for tests of how the code is built."""

import ast
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path


def tree_of(source: str) -> ast.Module:
    """Return the syntax tree of Python code.

    No garbage is collected meanwhile: CPython 3.11 fails with "AST constructor recursion depth mismatch" when a finalizer
    makes a tree of its own, and each traceback that is logged makes some (python/cpython#106905).
    """
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()


def trees_with(files: Iterable[Path], *words: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield each file of Python code in whose text one of the words stands, with its tree, which is what costs."""
    for file in files:
        text = file.read_text(encoding="utf-8")
        if any(word in text for word in words):
            yield file, tree_of(text)
