"""One row of what several places said of a check: it is allowed at all of them, or charged at none."""

from collections.abc import Sequence
from operator import add
from typing import NamedTuple

from stylobate.clients.limit_rows import ALLOWED, FIXED, REFUSED, decode_rows

from stylobate_ratelimit.model import Algorithm, Charge, CheckGroup, LevelSet
from stylobate_ratelimit.store.tagged_keys import HERE, Places, lane_of

Row = list[int]
"""See :mod:`stylobate.clients.limit_rows`."""
Back = dict[tuple[int, int], list[Charge]]
"""What is to be given back: by tag, or HERE, and the moment of the charge."""


class Told(NamedTuple):
    """What the script said of a group at one place of the Cluster, of all checks: see check_limits.lua."""

    at: int
    """The moment of the charge, by the clock of that place, in microseconds."""
    place: int
    rows: bytes
    refused: int
    """How many it refuses; -1: none, and ``rows`` has standings only."""
    is_flagged: bool

    @property
    def has_passed(self) -> bool:
        """Whether nothing was refused, for show neither."""
        return self.refused <= 0 and not self.is_flagged

    def of_checks(self, group: CheckGroup, checks: Sequence[int]) -> list[Row]:
        """Return the rows of some checks."""
        rows = all_allowed(group.levels, [self]) if self.refused < 0 else _split(decode_rows(self.rows), len(group))
        return [rows[check] for check in checks]


class Answered(NamedTuple):
    """What was said of those checks of a group that have a count at a place."""

    at: int
    place: int
    places: Places
    """Of the whole group."""
    checks: Sequence[int]
    rows: Sequence[Row]


def all_allowed(levels: LevelSet, told: Sequence[Told]) -> list[Row]:
    """Make one row of each check where nobody refuses any, as with most: what is counted elsewhere stands at 0."""
    width = len(levels)
    numbers = _standings(told[0], width) if told else []
    for more in told[1:]:
        numbers = [*map(add, numbers, _standings(more, width))]
    pairs, strict = 2 * width, _strict(levels)
    left = zip(*(numbers[2 * level :: pairs] for level in strict), strict=True)
    rows: list[Row] = []
    for start, own in zip(range(0, len(numbers), pairs), left, strict=True):
        tight, standings = strict[own.index(min(own))], numbers[start : start + pairs]
        row = [ALLOWED, tight, standings[2 * tight], standings[2 * tight + 1], 0, 0]
        rows.append(row + standings if width > 1 else row)
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


def _standings(told: Told, width: int) -> list[int]:
    """Return the numbers of all levels of all checks, without what stands before them in a row."""
    numbers = decode_rows(told.rows)
    if told.refused < 0:
        return numbers
    before, size = (FIXED, FIXED + 2 * width) if width > 1 else (2, FIXED)
    return [number for start in range(before, len(numbers), size) for number in numbers[start : start + 2 * width]]


def _split(numbers: list[int], count: int) -> list[Row]:
    size = len(numbers) // count
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


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
