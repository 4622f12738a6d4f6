"""What became of a group of checks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from stylobate.clients.limit_rows import ALLOWED, BANNED, FIXED, decode_rows, encode_rows

from stylobate_ratelimit.model import CheckGroup


@dataclass(slots=True)
class GroupOutcome:
    """Outcomes of a group; see :mod:`stylobate.clients.limit_rows`. Most are never looked into here."""

    count: int
    """Checks."""
    rows: bytes
    refused: int
    """How many of the checks are refused."""
    is_flagged: bool
    """Whether one has flags: of level i bit 2i, the shadow would have refused; bit 2i+1, its subject is to be banned."""
    degraded: Sequence[int] = ()
    """The checks of which a count could not be asked, as a part of the store does not answer; rising."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], degraded: Collection[int] = ()) -> Self:
        """Return the outcomes of these rows."""
        refused = len(rows) - [row[0] for row in rows].count(ALLOWED)
        return cls(len(rows), encode_rows(rows), refused, any(row[5] for row in rows), sorted(degraded) if degraded else ())

    def split(self) -> list[list[int]]:
        """Return the row of each check."""
        numbers = decode_rows(self.rows)
        size = len(numbers) // self.count if self.count else 1
        return [numbers[start : start + size] for start in range(0, len(numbers), size)]

    @property
    def allowed(self) -> list[bool]:
        """Of each check whether it passed."""
        return [row[0] == ALLOWED for row in self.split()]

    @property
    def level(self) -> list[int]:
        """The level that refused (of several, the one to wait for longest), else the one with the least left."""
        return [row[1] for row in self.split()]

    @property
    def remaining(self) -> list[int]:
        """What is left at that level."""
        return [row[2] for row in self.split()]

    @property
    def reset_ms(self) -> list[int]:
        """Until that level is full again."""
        return [row[3] for row in self.split()]

    @property
    def retry_after_ms(self) -> list[int]:
        """Until a retry can pass; 0 when allowed."""
        return [row[4] for row in self.split()]

    @property
    def flags(self) -> list[int]:
        """The flags of each check."""
        return [row[5] for row in self.split()]

    @property
    def banned(self) -> list[bool]:
        """Whether it was refused because a subject is banned; none where that is so of no check."""
        found = [row[0] == BANNED for row in self.split()]
        return found if any(found) else []

    @property
    def standings(self) -> list[int]:
        """Of checks of several levels n*k pairs: what is left at each level, and the milliseconds until it is full again."""
        return [number for row in self.split() for number in row[FIXED:]]

    def with_banned(self, group: CheckGroup, banned: Mapping[int, tuple[int, int]]) -> "GroupOutcome":
        """Return the outcomes of the whole group, of which these checks were left out.

        :param banned: by check the level whose subject is banned, and the milliseconds left of the ban.
        """
        if not banned:
            return self
        rows, width = iter(self.split()), len(group.levels)
        nothing = [0] * (2 * width if width > 1 else 0)
        asked = [check for check in range(len(group)) if check not in banned]
        return GroupOutcome.of(
            [
                [BANNED, banned[check][0], 0, banned[check][1], banned[check][1], 0, *nothing] if check in banned else next(rows)
                for check in range(len(group))
            ],
            [asked[at] for at in self.degraded],
        )

    def of_levels(self, kept: Sequence[int], width: int) -> "GroupOutcome":
        """Return the outcomes of checks of this many levels. Only those that are kept were looked at; others stand at 0."""
        return GroupOutcome.of([_spread(row, kept, width) for row in self.split()])


def _spread(row: Sequence[int], kept: Sequence[int], width: int) -> list[int]:
    """Return a row of all levels, where this one is of those that are kept."""
    ended, level, remaining, reset_ms, retry_ms, flags = row[:FIXED]
    told = row[FIXED:] or (remaining, reset_ms)
    standings = [0] * (2 * width if width > 1 else 0)
    for at, one in enumerate(kept if width > 1 else ()):
        standings[2 * one : 2 * one + 2] = told[2 * at : 2 * at + 2]
    spread = sum((flags >> 2 * at & 3) << 2 * one for at, one in enumerate(kept)) if flags else 0
    return [ended, kept[level], remaining, reset_ms, retry_ms, spread, *standings]
