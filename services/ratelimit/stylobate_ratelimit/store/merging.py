"""One row of what several places said of a check: it is allowed at all of them, or charged at none."""

from collections.abc import Sequence
from operator import add
from typing import NamedTuple

from stylobate.clients.limit_rows import ALLOWED, FIXED, REFUSED, decode_rows

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, Charge, CheckGroup
from stylobate_ratelimit.store.tagged_keys import HERE, Piece, lane_of

Row = list[int]
"""See :mod:`stylobate.clients.limit_rows`."""
Back = dict[tuple[int, int], list[Charge]]
"""What is to be given back: by tag, or HERE, and the moment of the charge."""


class Answered(NamedTuple):
    """What was said of a piece."""

    at: int
    """The moment of the charge, by the clock of that place, in microseconds."""
    piece: Piece
    outcome: GroupOutcome


def merged(group: CheckGroup, answered: Sequence[Answered], back: Back) -> list[Row]:
    """Make one row of what was said of each check, and put what is to be given back into ``back``."""
    if all(not one.outcome.refused and not one.outcome.is_flagged for one in answered):
        return _all_allowed(group, answered)
    told: list[list[tuple[Answered, Row]]] = [[] for _ in range(len(group))]
    for one in answered:
        for row, check in zip(one.outcome.split(), one.piece.checks, strict=True):
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


def _all_allowed(group: CheckGroup, answered: Sequence[Answered]) -> list[Row]:
    """Do it where no check is refused, as with most batches: what is counted elsewhere stands at 0, so standings are added up."""
    size = FIXED + 2 * len(group.levels) if len(group.levels) > 1 else FIXED
    rows: list[Row] = [[]] * len(group)
    several: set[int] = set()
    for _, piece, outcome in answered:
        numbers = decode_rows(outcome.rows)
        for start, check in zip(range(0, len(numbers), size), piece.checks, strict=True):
            row = numbers[start : start + size]
            if known := rows[check]:
                row = [*map(add, known, row)]
                several.add(check)
            rows[check] = row
    strict = _strict(group)
    for check in several:
        row = rows[check]
        tight = min(strict, key=row[FIXED::2].__getitem__)
        row[:FIXED] = ALLOWED, tight, row[FIXED + 2 * tight], row[FIXED + 2 * tight + 1], 0, 0
    return rows


def _together(group: CheckGroup, check: int, told: Sequence[tuple[Answered, Row]], back: Back) -> Row:
    """Decide a check that was asked at several places."""
    levels, width = group.levels, len(group.levels)
    refused = [row for _, row in told if row[0] != ALLOWED]
    standings, flags = [0] * 2 * width, 0
    for (at, (_, place, places, _), _), row in told:
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
    tight = min(_strict(group), key=lambda level: standings[2 * level])
    return [ALLOWED, tight, standings[2 * tight], standings[2 * tight + 1], 0, flags, *standings]


def _strict(group: CheckGroup) -> Sequence[int]:
    """Return the levels that refuse; the first where none does."""
    return [level for level, limit in enumerate(group.levels.limits) if not limit.is_shadow] or [0]
