"""One row of what several places said of a check: it is allowed at all of them, or charged at none."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from stylobate.clients.limit_rows import ALLOWED, FIXED, REFUSED, decode_rows

from stylobate_ratelimit.model import Algorithm, Charge, CheckGroup, LevelSet
from stylobate_ratelimit.store.tagged_keys import HERE, Columns, Places, lane_of

Row = list[int]
"""See :mod:`stylobate.clients.limit_rows`."""
Back = dict[tuple[int, int], list[Charge]]
"""What is to be given back: by tag, or HERE, and the moment of the charge."""


class Told(NamedTuple):
    """What the script said of a group at one place of the Cluster: see check_limits.lua."""

    at: int
    """The moment of the charge, by the clock of that place, in microseconds."""
    place: int
    checks: Columns
    """By level those that are counted there."""
    rows: bytes
    refused: int
    """How many it refuses; -1: none, and ``rows`` has standings only."""
    is_flagged: bool

    @property
    def has_passed(self) -> bool:
        """Whether nothing was refused, for show neither."""
        return self.refused <= 0 and not self.is_flagged

    @property
    def own(self) -> Sequence[int]:
        """The checks that have a count there; rising."""
        return sorted({*chain.from_iterable(self.checks)})

    def of_own(self, group: CheckGroup) -> Sequence[Row]:
        """Return the rows of these."""
        if self.refused >= 0:
            return self._split()
        rows = all_allowed(group, [self])
        return [rows[check] for check in self.own]

    def put(self, left: Sequence[list[int]], full: Sequence[list[int]]) -> None:
        """Put the standings of a group where nobody is refused to those of other places, by level and check."""
        if self.refused < 0:
            numbers = iter(decode_rows(self.rows))
            for checks, lefts, fulls in zip(self.checks, left, full, strict=True):
                for check in checks:
                    lefts[check] = next(numbers)
                    fulls[check] = next(numbers)
            return
        own, width = self.own, len(left)
        for check, row in zip(own, self._split(), strict=True):
            standings = row[FIXED:] if width > 1 else row[2:4]
            for level in range(width):  # what is counted elsewhere stands at 0
                left[level][check] += standings[2 * level]
                full[level][check] += standings[2 * level + 1]

    def _split(self) -> Sequence[Row]:
        numbers = decode_rows(self.rows)
        size = len(numbers) // len(self.own)
        return [numbers[start : start + size] for start in range(0, len(numbers), size)]


class Answered(NamedTuple):
    """What was said of those checks of a group that have a count at a place."""

    at: int
    place: int
    places: Places
    """Of the whole group."""
    checks: Sequence[int]
    rows: Sequence[Row]


def all_allowed(group: CheckGroup, told: Sequence[Told]) -> list[Row]:
    """Make one row of each check where nobody refuses any, as with most; what nobody told of stands at 0."""
    width, count = len(group.levels), len(group)
    left, full = [[0] * count for _ in range(width)], [[0] * count for _ in range(width)]
    for one in told:
        one.put(left, full)
    if width == 1:
        return [[ALLOWED, 0, is_left, until, 0, 0] for is_left, until in zip(left[0], full[0], strict=True)]
    strict = _strict(group.levels)
    least = zip(*[left[level] for level in strict], strict=True)
    standings = [column for pair in zip(left, full, strict=True) for column in pair]
    rows: list[Row] = []
    for numbers, own in zip(zip(*standings, strict=True), least, strict=True):
        few = min(own)
        tight = strict[own.index(few)]
        rows.append([ALLOWED, tight, few, numbers[2 * tight + 1], 0, 0, *numbers])
    return rows


def merged(group: CheckGroup, answered: Sequence[Answered], back: Back) -> list[Row]:
    """Make one row of what was said of each check, and put what is to be given back into ``back``."""
    told: list[list[tuple[Answered, Row]]] = [[] for _ in range(len(group))]
    for one in answered:
        for row, check in zip(one.rows, one.checks, strict=True):
            told[check].append((one, row))
    return [some[0][1] if len(some) == 1 else _together(group, check, some, back) for check, some in enumerate(told)]


def contested(group: CheckGroup, rows: Sequence[Row], given: set[tuple[str, str, str]]) -> set[int]:
    """Return the checks that were refused at a count of which something was given back since, where no refusal is counted."""
    levels, width = group.levels, len(group.levels)
    return {
        check
        for check, row in enumerate(rows)
        if row[0] != ALLOWED
        and levels.limits[level := row[1]].ban is None
        and (levels.tenants[level], levels.limits[level].name, group.subjects[check * width + level]) in given
    }


def _together(group: CheckGroup, check: int, told: Sequence[tuple[Answered, Row]], back: Back) -> Row:
    """Decide a check that was asked at several places."""
    levels, width = group.levels, len(group.levels)
    refused = [row for _, row in told if row[0] != ALLOWED]
    standings, flags = [0] * 2 * width, 0
    for (at, place, places, *_), row in told:
        is_allowed = row[0] == ALLOWED
        for level, limit in enumerate(levels.limits):
            if places[check * width + level] != place:
                continue
            left, full_ms = row[FIXED + 2 * level : FIXED + 2 * level + 2]
            flag = row[5] >> 2 * level & 3
            is_charged = refused and is_allowed and not flag & 1
            units = (group.costs[check] if group.costs else 1) * limit.cost if is_charged else 0
            if units:
                subject = group.subjects[check * width + level]
                charge = Charge(levels.tenants[level], limit, subject, units, full_ms)
                back.setdefault((HERE if place == HERE else lane_of(subject), at), []).append(charge)
            taken_ms = units * limit.interval_us // 1000 if limit.algorithm is Algorithm.GCRA else 0
            standings[2 * level : 2 * level + 2] = left + units, max(0, full_ms - taken_ms)
            flags |= (flag & 2 if refused and is_allowed else flag) << 2 * level  # no shadow refuses what is refused anyway
    if refused:
        _, level, remaining, reset_ms, retry_after_ms = max(refused, key=lambda row: row[4])[:5]
        return [REFUSED, level, remaining, reset_ms, retry_after_ms, flags, *standings]
    tight = min(_strict(levels), key=lambda level: standings[2 * level])
    return [ALLOWED, tight, standings[2 * tight], standings[2 * tight + 1], 0, flags, *standings]


def _strict(levels: LevelSet) -> Sequence[int]:
    """Return the levels that refuse; the first where none does."""
    return [level for level, limit in enumerate(levels.limits) if not limit.is_shadow] or [0]
