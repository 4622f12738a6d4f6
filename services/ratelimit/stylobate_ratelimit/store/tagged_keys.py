"""The tags that limits are counted behind in a Cluster, and the keys of a batch behind several of them."""

from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

from stylobate.redis import slot_of, spread_tags

from stylobate_ratelimit.store.redis import Keys

TAGS = spread_tags("limits", 8)
"""Each counts in a slot of its own. Another number of them would begin every count anew."""
SLOTS = [slot_of(tag) for tag in TAGS]
_PREFIXES = [f"{{{tag}}}" for tag in TAGS]


@lru_cache(maxsize=8192)
def lane_of(subject: str) -> int:
    """Return the number of the tag that a subject is counted behind."""
    return crc32(subject.encode()) % len(TAGS)


class TaggedKeys(Keys):
    """The keys of a batch at one master, each behind the tag of its subject."""

    def __init__(self) -> None:
        super().__init__()
        self._lanes: list[int] = []

    def add(self, prefix: str, subjects: Iterable[str]) -> None:
        """Add keys of subjects that are not there yet."""
        lanes = [lane_of(subject) for subject in subjects]
        self._lanes += lanes
        self.names += [_PREFIXES[lane] + prefix + subject for lane, subject in zip(lanes, subjects, strict=True)]

    def tags(self, gcra_keys: int) -> list[tuple[str, list[int]]]:
        """Return the tags: of each a key that nobody writes, and the numbers of its GCRA keys, which are the first of all."""
        lanes = self._lanes
        found: dict[int, list[int]] = {}
        for number, lane in enumerate(lanes[:gcra_keys], 1):
            if lane in found:
                found[lane].append(number)
            else:
                found[lane] = [number]
        for lane in lanes[gcra_keys:]:
            found.setdefault(lane, [])
        return [(_PREFIXES[lane], numbers) for lane, numbers in found.items()]
