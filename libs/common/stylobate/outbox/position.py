"""Where a reader stands in a log: one number per partition of one epoch, opaque to everyone but the log."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from stylobate.outbox.errors import PositionInvalidError
from stylobate.outbox.event import PARTITIONS

_NUMBERS = rf"(?:\.[0-9a-f]{{1,16}}){{{PARTITIONS}}}"
_FORM = re.compile(rf"(?:1|2\.(?P<epoch>[0-9a-z-]{{1,64}}))(?P<numbers>{_NUMBERS})")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read. Callers keep the text and pass it on as received."""

    numbers: tuple[int, ...]
    """The number of the last event read, per partition; 0 before the first."""
    epoch: str = ""
    """Of the log: a new one begins when the log was taken back (a restore, a failover that lost events). The first has no
    name, and its positions the form that releases before epochs wrote."""

    @classmethod
    def origin(cls, epoch: str = "") -> Self:
        """Return the position before everything that was ever written."""
        return cls((0,) * PARTITIONS, epoch)

    @classmethod
    def of(cls, numbers: Sequence[int], epoch: str = "") -> Self:
        """Return the position with these numbers, one per partition."""
        if len(numbers) != PARTITIONS:
            raise PositionInvalidError
        return cls(tuple(numbers), epoch)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the opaque form. Raises PositionInvalidError."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise PositionInvalidError
        numbers = tuple(int(part, 16) for part in found["numbers"].split(".")[1:])
        if max(numbers) >= 1 << 63:
            raise PositionInvalidError
        return cls(numbers, found["epoch"] or "")

    def advanced(self, numbers: Mapping[int, int]) -> Self:
        """Return the position with these partitions replaced."""
        changed = list(self.numbers)
        for partition, number in numbers.items():
            changed[partition] = number
        return replace(self, numbers=tuple(changed))

    def __str__(self) -> str:
        """Return the opaque form."""
        head = f"2.{self.epoch}" if self.epoch else "1"
        return f"{head}." + ".".join([f"{number:x}" for number in self.numbers])


def position_to_go_on(
    position: Position, asked: Iterable[int], *, oldest: Position, head: Position, starts: Iterable[Sequence[int]]
) -> Position:
    """Return where a reader goes on whose position is not in the log.

    :param asked: the partitions that it reads; in another epoch all count.
    :param oldest: where the log begins now. :param head: where it ends.
    :param starts: of each epoch that followed the position's, the last number that it shares with the one before, by partition.
    """
    shared = list(position.numbers)
    for start in starts:
        shared = [min(pair) for pair in zip(shared, start, strict=True)]
    for partition in asked if head.epoch == position.epoch else range(PARTITIONS):
        shared[partition] = max(oldest.numbers[partition], min(shared[partition], head.numbers[partition]))
    return Position.of(shared, head.epoch)
