"""The tags that limits are counted behind in a Cluster, and what of a batch is asked at which place."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
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


class Piece(NamedTuple):
    """What of a group is counted at one place."""

    group: int
    place: int
    places: Places
    """Of the whole group."""
    checks: Sequence[int]


class Request:
    """What is asked at one place. Keys have the numbers from 1, those of GCRA first."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.tags: dict[int, list[int]] = defaultdict(list)
        """By number, the GCRA keys behind each."""
        self.groups: list[object] = []
        """As check_limits.lua reads them."""
        self.pieces: list[Piece] = []

    @property
    def of_several_tags(self) -> tuple[str, object, Sequence[str]]:
        """A key that says which master, what the script is told, and the keys behind it."""
        tags = [(_PREFIXES[lane], numbers) for lane, numbers in self.tags.items()]
        return tags[0][0], (self._gcra, self.groups, tags), self.keys

    @property
    def of_one_tag(self) -> tuple[Sequence[str], object]:
        """The keys, and what the script is told."""
        return self.keys, (self._gcra, self.groups)

    @property
    def _gcra(self) -> int:
        return sum(map(len, self.tags.values()))


def requests(groups: Sequence[CheckGroup], places: Sequence[Places], packed: Sequence[Packed]) -> Mapping[int, Request]:
    """Return what is asked at each place of the Cluster: of each group one piece, with all of its levels."""
    found: dict[int, Request] = defaultdict(Request)
    numbers = _Numbers(found)
    columns = [
        [numbers.column(place, group.subjects, there, is_gcra=True) for place in one.gcra]
        for group, there, one in zip(groups, places, packed, strict=True)
    ]
    for number, (group, there, one, column) in enumerate(zip(groups, places, packed, columns, strict=True)):
        for place in one.windows:
            column.insert(place[1], numbers.column(place, group.subjects, there))
        refusals = [numbers.column(place, group.subjects, there) if place[0] else () for place in one.refusals]
        width, costs = len(group.levels), group.costs
        levels = [there[level::width] for level in range(width)]
        of_checks = [*zip(*levels, strict=True)]
        for at in set(there):
            if at >= 0:
                checks = [check for check, those in enumerate(of_checks) if at in those]
                told = (
                    one.levels,
                    [costs[check] for check in checks] if costs else False,
                    [_those(at, *both, checks) for both in zip(column, levels, strict=True)],
                    [_those(at, *both, checks) if both[0] else () for both in zip(refusals, levels, strict=True)]
                    if refusals
                    else False,
                )
                request = found[at]
                request.groups.append(told)
                request.pieces.append(Piece(number, at, there, checks))
    return found


def _those(at: int, numbers: Sequence[int], places: Places, checks: Sequence[int]) -> list[int]:
    """Return the numbers of a level's keys at a place, 0 of a check that is counted elsewhere."""
    return [numbers[check] if places[check] == at else 0 for check in checks]


class _Numbers:
    """The keys of a batch, each once, and their numbers at their places."""

    def __init__(self, requests: Mapping[int, Request]) -> None:
        self._requests = requests
        self._known: dict[str, dict[str, int]] = defaultdict(dict)
        """By what stands before a subject, and subject."""

    def column(self, level: Place, subjects: Sequence[str], places: Places, *, is_gcra: bool = False) -> list[int]:
        """Return the numbers of the keys of a level, check by check; 0 of those that are nowhere."""
        prefix, first, width = level
        known = self._known[prefix]
        own = subjects[first::width]
        for subject, place in zip(own, places[first::width], strict=True):
            if subject not in known and place >= 0:
                request, lane = self._requests[place], lane_of(subject)
                request.keys.append(_PREFIXES[lane] + prefix + subject)
                known[subject] = number = len(request.keys)
                tag = request.tags[lane]
                if is_gcra:
                    tag.append(number)
        return [known.get(subject, 0) for subject in own]
