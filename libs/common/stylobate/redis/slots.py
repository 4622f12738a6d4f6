"""The slots of a Redis Cluster: which one a key is in, and who has it."""

from binascii import crc_hqx
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Argument = str | bytes | int | float
COUNT = 16_384
_KEYLESS = frozenset(
    (
        *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "FLUSHDB", "INFO", "KEYS"),
        *("LASTSAVE", "LATENCY", "PING", "PUBLISH", "ROLE", "SCAN", "SCRIPT", "TIME"),
    )
)
_SCRIPTED = frozenset(("EVAL", "EVALSHA", "FCALL"))


def slot_of(key: Argument) -> int:
    """Return the slot of a key: of what stands between the first braces, where there is something, else of all of it."""
    data = key if isinstance(key, bytes) else str(key).encode()
    begin = data.find(b"{")
    if begin >= 0:
        end = data.find(b"}", begin + 1)
        if end > begin + 1:
            data = data[begin + 1 : end]
    return crc_hqx(data, 0) % COUNT


def slot_of_command(arguments: Sequence[Argument]) -> int | None:
    """Return the slot that a command is for; None: any node may be asked."""
    name = str(arguments[0]).upper()
    if name in _KEYLESS or len(arguments) == 1:
        return None
    if name in _SCRIPTED:
        return slot_of(arguments[3]) if int(arguments[2]) else None
    return slot_of(arguments[1])


def spread_tags(name: str, count: int) -> tuple[str, ...]:
    """Return texts whose slots lie evenly over all of them, so that they lie evenly over the masters: always the same ones.

    :param name: what each begins with. :param count: how many, a power of two.
    """
    found: list[str] = []
    for place in range(count):
        number = 0
        while slot_of(text := f"{name}{place}.{number}") * count // COUNT != place:
            number += 1
        found.append(text)
    return tuple(found)


Node = tuple[str, int]
"""Host and port."""


class SlotMap(NamedTuple):
    """Who has which slots."""

    owners: tuple[Node | None, ...] = (None,) * COUNT
    """The master of each slot."""
    replicas: frozenset[Node] = frozenset()
    counts: Mapping[Node, int] = {}
    """How many slots each master has."""
    missing: str = f"0-{COUNT - 1}"
    """The slots that nobody has, as ranges; empty when there are none."""

    @classmethod
    def of(cls, reply: Sequence[Any], asked: Node) -> "SlotMap":
        """Read the reply to ``CLUSTER SLOTS``: ranges, each with its master and its replicas.

        :param asked: the node that said so; it leaves its own host out where it does not know it.
        """
        owners: list[Node | None] = [None] * COUNT
        replicas: set[Node] = set()
        for first, last, master, *others in reply:
            owners[first : last + 1] = [_node(master, asked)] * (last + 1 - first)
            replicas |= {_node(other, asked) for other in others}
        counts = Counter(owner for owner in owners if owner is not None)
        missing = ranges(slot for slot, owner in enumerate(owners) if owner is None)
        return cls(tuple(owners), frozenset(replicas - set(counts)), counts, missing)

    @property
    def covered(self) -> int:
        """How many slots have a master."""
        return sum(self.counts.values())

    def slots_of(self, node: Node) -> str:
        """Return the slots of a master, as ranges."""
        return ranges(slot for slot, owner in enumerate(self.owners) if owner == node)


def ranges(slots: Iterable[int]) -> str:
    """Return rising numbers as text, ``0-5460 6000``."""
    found: list[list[int]] = []
    for slot in slots:
        if found and found[-1][1] == slot - 1:
            found[-1][1] = slot
        else:
            found.append([slot, slot])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def _node(said: Sequence[Any], asked: Node) -> Node:
    host = (said[0] or b"").decode()
    return host if host not in {"", "?"} else asked[0], int(said[1])
