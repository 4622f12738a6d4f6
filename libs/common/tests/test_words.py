"""Plain English: phrases that a reader has to read twice stand nowhere, neither in pages nor in messages nor in docstrings."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from stylobate.testing.syntax import tree_of

ROOT = Path(__file__).parents[3]
BANNED = re.compile(
    r"""\b(?:
        (?<!there\ )(?:is|are)\ no\ (?!(?:longer|more|less|such|better|business|way|room|reason|input)\b)\w+  # is not a
        | (?<!there\ )(?:is|are)\ none\ of   # is not one of
        | there\ is\ nothing\ of             # not found
        | so\ (?:many|much)(?!\ (?:that|as|more|of)\b)  # as many as; say how many
        | for\ ever\b                        # forever
        | of\ (?:which|whom|whose)\ (?:the|it|he|she|they|nobody|somebody)\b  # whose
        | lest\b | whereof\b | thereof\b | withal\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def texts() -> Iterator[tuple[str, str]]:
    """Give each line that somebody reads, with its place."""
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{page.relative_to(ROOT)}:{number}", line
    for folder in ("libs/common/stylobate", "modules", *(str(found) for found in (ROOT / "services").glob("*/stylobate_*"))):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if "api" in file.relative_to(ROOT).parts:
                continue
            for node in ast.walk(tree_of(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    for number, line in enumerate(node.value.splitlines(), node.lineno):
                        yield f"{file.relative_to(ROOT)}:{number}", line


def test_nobody_has_to_read_it_twice() -> None:
    """Each place is told, so that one pass mends them."""
    found = [f"{place}: {line.strip()}" for place, line in texts() if BANNED.search(line)]
    assert not found, "\n" + "\n".join(found)


def test_the_phrases_are_seen() -> None:
    """Some that stood here once, and their neighbours that are fine."""
    for bad in (
        "'A' is no name for a namespace",
        "There is nothing of that name.",
        "so many at a time",
        "for ever.",
        "is none of them",
    ):
        assert BANNED.search(bad), bad
    for good in ("there is no name", "it is no longer there", "so many that it ends", "for every caller", "none of them"):
        assert not BANNED.search(good), good
