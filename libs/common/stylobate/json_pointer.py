"""Places in a JSON document (RFC 6901)."""

from collections.abc import Iterable


def pointer(path: Iterable[str | int]) -> str:
    """Return the path of names and indexes as a JSON pointer; an empty one means the whole document."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def steps(text: str) -> list[str]:
    """Return the path of a JSON pointer, indexes as text."""
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]
