"""What pydantic found, in words for users."""

from collections.abc import Mapping
from typing import Any


def said(entry: Mapping[str, Any]) -> str:
    """Return what an entry of ``ValidationError.errors()`` says, a validator's own words as it wrote them."""
    text: str = entry["msg"]
    return text.removeprefix("Value error, ").removeprefix("Assertion failed, ")
