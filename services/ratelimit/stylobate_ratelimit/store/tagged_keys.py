"""The tags that limits are counted behind in a Cluster, and what of a batch stands behind which."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
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


@lru_cache(maxsize=8192)
def lane_of(subject: str) -> int:
    """Return the number of the tag that a subject is counted behind."""
    return crc32(subject.encode()) % len(TAGS)


@lru_cache(maxsize=8192)
def _heads(prefix: str) -> list[str]:
    """Return what stands before a subject in its key, by tag."""
    return [head + prefix for head in _PREFIXES]


class Behind:
    """What of a batch stands behind one tag."""

    __slots__ = ("gcra", "keys", "others")

    def __init__(self) -> None:
        self.gcra: list[int] = []
        """The numbers of its GCRA keys."""
        self.others: list[int] = []
        self.keys: list[str] = []
        """Of both, in their order."""


class Batch:
    """A batch as check_limits.lua is told of it: the same at each place, which counts the keys that it is given.

    Keys have the numbers from 1, wherever they are, those of GCRA first.
    """

    def __init__(self, groups: Sequence[CheckGroup], packed: Sequence[Packed], places: Sequence[Places] | None = None) -> None:
        """Give the keys their numbers.

        :param places: of each group; what is HERE or NOWHERE has no key. None: all are at places of the Cluster.
        """
        self.tags: dict[int, Behind] = defaultdict(Behind)
        self._known: dict[str, dict[str, int]] = defaultdict(dict)
        """By what stands before a subject, and subject."""
        self._count = 0
        whole: list[Places | None] = [None] * len(groups)
        those = [*zip(groups, packed, whole if places is None else places, strict=True)]
        columns = [[self._column(level, group, there, is_gcra=True) for level in one.gcra] for group, one, there in those]
        gcra = self._count
        told = []
        for (group, one, there), column in zip(those, columns, strict=True):
            for level in one.windows:
                column.insert(level[1], self._column(level, group, there))
            refusals = [self._column(level, group, there) if level[0] else () for level in one.refusals]
            told.append((one.levels, group.costs or False, column, refusals or False))
        self.groups = gcra, told
        """What the script is told at each place."""

    def told_of(self, lanes: Iterable[int]) -> Sequence[object]:
        """Return what it is told of tags."""
        return [(_PREFIXES[lane], self.tags[lane].gcra, self.tags[lane].others) for lane in lanes]

    def keys_of(self, lanes: Iterable[int]) -> list[str]:
        """Return the keys behind tags."""
        return [key for lane in lanes for key in self.tags[lane].keys]

    def _column(self, level: Place, group: CheckGroup, places: Places | None, *, is_gcra: bool = False) -> list[int]:
        """Return the numbers of the keys of a level, check by check; 0 of those that have none."""
        prefix, first, width = level
        own, known, tags, heads = group.subjects[first::width], self._known[prefix], self.tags, _heads(prefix)
        counted = own if places is None else [subject for subject, at in zip(own, places[first::width], strict=True) if at >= 0]
        number = self._count
        for subject in counted:
            if subject not in known:
                lane = lane_of(subject)
                behind = tags[lane]
                known[subject] = number = number + 1
                behind.keys.append(heads[lane] + subject)
                (behind.gcra if is_gcra else behind.others).append(number)
        self._count = number
        if places is None:
            return [known[subject] for subject in own]
        return [known[subject] if at >= 0 else 0 for subject, at in zip(own, places[first::width], strict=True)]
