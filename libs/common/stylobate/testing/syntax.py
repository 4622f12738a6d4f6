"""Reading code as syntax trees, for tests of how the code is built."""

import ast
import gc


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
