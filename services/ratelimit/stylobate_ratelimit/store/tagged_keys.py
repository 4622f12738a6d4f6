"""The tags that limits are counted behind in a Cluster, and what of a batch stands behind which."""

from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

from stylobate.redis import slot_of, spread_tags

from stylobate_ratelimit.model import CheckGroup
from stylobate_ratelimit.store.redis import Packed, Place

TAGS = spread_tags("limits", 8)
"""Each counts in a slot of its own. Another number of them would begin every count anew."""
SLOTS = [slot_of(tag) for tag in TAGS]
HERE, NOWHERE = -1, -2
"""Places besides those of the Cluster, which are numbered from 0: this process, as the master is away; and none."""
_PREFIXES = [f"{{{tag}}}" for tag in TAGS]
Places = Sequence[int]
"""For each subject of a group the place where it is counted: a master, by the first tag that it has, or a tag."""
Columns = Sequence[Sequence[int]]
"""By level."""


@lru_cache(maxsize=8192)
def lane_of(subject: str) -> int:
    """Return the number of the tag that a subject is counted behind."""
    return crc32(subject.encode()) % len(TAGS)


@lru_cache(maxsize=8192)
def _heads(prefix: str) -> list[str]:
    """Return what stands before a subject in its key, by tag."""
    return [head + prefix for head in _PREFIXES]


class Share:
    """What of a batch is counted at one place, as check_limits.lua is told of it. Its keys have the numbers from 2."""

    __slots__ = ("checks", "groups", "keys", "tags", "told")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.tags: dict[int, list[int]] = {}
        """By tag the numbers of its GCRA keys."""
        self.groups: list[int] = []
        """The groups that have a count here."""
        self.checks: list[Columns] = []
        """Of each of them by level the checks that are counted here, from 0."""
        self.told: list[object] = []

    @property
    def message(self) -> tuple[object, ...]:
        """What the script is told beside the keys."""
        return 0, self.told, [(_PREFIXES[lane], numbers) for lane, numbers in self.tags.items()]


class _Part:
    """What of a group is counted at one place, by level."""

    __slots__ = ("checks", "numbers", "refusals", "share")

    def __init__(self, share: Share, width: int) -> None:
        self.share = share
        self.checks: list[list[int]] = [[] for _ in range(width)]
        self.numbers: list[list[int]] = [[] for _ in range(width)]
        self.refusals: list[list[int]] = [[] for _ in range(width)]


class Batch:
    """Lays checks out: what is counted where."""

    def __init__(
        self, groups: Sequence[CheckGroup], packed: Sequence[Packed], of_tags: Places, places: Sequence[Places] | None = None
    ) -> None:
        """Do it.

        :param of_tags: by tag where it is. :param places: of each group; what is HERE or NOWHERE is left out. None: nothing is.
        """
        self.shares: dict[int, Share] = {}
        """By place."""
        self._of_tags = of_tags
        self._numbers: dict[str, dict[str, int]] = {}
        """Of keys, by what stands before a subject, and subject."""
        for number, (group, one) in enumerate(zip(groups, packed, strict=True)):
            there = None if places is None else places[number]
            parts: dict[int, _Part] = {}
            for level in one.gcra:
                self._add(level, group, there, parts, is_gcra=True)
            for level in one.windows:
                self._add(level, group, there, parts)
            for level in one.refusals:
                if level[0]:
                    self._add(level, group, there, parts, is_refusals=True)
            for part in parts.values():
                share, bans = part.share, bool(one.refusals)
                share.groups.append(number)
                share.checks.append(part.checks)
                share.told.append((one.levels, group.costs or False, part.numbers, bans and part.refusals, part.checks))

    def _add(
        self,
        level: Place,
        group: CheckGroup,
        places: Places | None,
        parts: dict[int, _Part],
        *,
        is_gcra: bool = False,
        is_refusals: bool = False,
    ) -> None:
        """Give the keys of a level their numbers."""
        prefix, first, width = level
        of_tags, heads, numbers = self._of_tags, _heads(prefix), self._numbers.setdefault(prefix, {})
        for check, subject in enumerate(group.subjects[first::width]):
            if places is not None and places[check * width + first] < 0:
                continue
            lane = lane_of(subject)
            place = of_tags[lane]
            if place not in parts:
                parts[place] = _Part(self.shares.setdefault(place, Share()), width)
            part = parts[place]
            if subject not in numbers:
                share = part.share
                share.keys.append(heads[lane] + subject)
                numbers[subject] = number = len(share.keys) + 1
                if lane not in share.tags:
                    share.tags[lane] = []
                if is_gcra:
                    share.tags[lane].append(number)
            if is_refusals:
                part.refusals[first].append(numbers[subject])
            else:
                part.checks[first].append(check)
                part.numbers[first].append(numbers[subject])
