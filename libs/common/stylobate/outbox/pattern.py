"""Patterns of event types: ``state.*.transitioned``."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from stylobate.outbox.errors import EventPatternInvalidError

_SEGMENT = re.compile(r"\*|[A-Za-z0-9_-]+")
_MAXIMUM = 255


@dataclass(frozen=True)
class EventPattern:
    """Which types are meant: dotted segments, ``*`` in the place of one whole segment."""

    text: str
    regex: str = field(repr=False)
    """The same as an anchored regular expression that Python and PostgreSQL read alike."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern. Raises EventPatternInvalidError."""
        segments = text.split(".")
        if len(text) > _MAXIMUM or not all(_SEGMENT.fullmatch(segment) for segment in segments):
            raise EventPatternInvalidError(metadata={"pattern": text[:_MAXIMUM]})
        return cls(text, "^" + r"\.".join("[^.]+" if segment == "*" else segment for segment in segments) + "$")

    @cached_property
    def matches(self) -> Callable[[str], object]:
        """Ask whether a type is meant: ``pattern.matches("state.orders.created")`` is truthy when it is."""
        return re.compile(self.regex).fullmatch

    def within(self, other: "EventPattern") -> "EventPattern | None":
        """Return the pattern of the types that both mean; None: there are none."""
        segments, others = self.text.split("."), other.text.split(".")
        if len(segments) != len(others):
            return None
        pairs = list(zip(segments, others, strict=True))
        if any(mine != theirs and "*" not in (mine, theirs) for mine, theirs in pairs):
            return None
        return EventPattern.parse(".".join(theirs if mine == "*" else mine for mine, theirs in pairs))
