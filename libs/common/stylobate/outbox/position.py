"""Where a reader stands in a log: one number per partition, opaque to everyone but the log."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from stylobate.outbox.errors import PositionInvalidError
from stylobate.outbox.event import PARTITIONS

_FORM = re.compile(rf"1(?:\.[0-9a-f]{{1,16}}){{{PARTITIONS}}}")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read. Callers keep the text and pass it on as received."""

    numbers: tuple[int, ...]
    """The number of the last event read, per partition; 0 before the first."""

    @classmethod
    def origin(cls) -> Self:
        """Return the position before everything that was ever written."""
        return cls((0,) * PARTITIONS)

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Self:
        """Return the position with these numbers, one per partition."""
        if len(numbers) != PARTITIONS:
            raise PositionInvalidError
        return cls(tuple(numbers))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the opaque form. Raises PositionInvalidError."""
        if not _FORM.fullmatch(text):
            raise PositionInvalidError
        numbers = tuple(int(part, 16) for part in text.split(".")[1:])
        if max(numbers) >= 1 << 63:
            raise PositionInvalidError
        return cls(numbers)

    def advanced(self, numbers: Mapping[int, int]) -> Self:
        """Return the position with these partitions replaced."""
        changed = list(self.numbers)
        for partition, number in numbers.items():
            changed[partition] = number
        return type(self)(tuple(changed))

    def __str__(self) -> str:
        """Return the opaque form."""
        return "1." + ".".join([f"{number:x}" for number in self.numbers])
