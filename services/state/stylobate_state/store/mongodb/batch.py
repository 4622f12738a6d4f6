"""What becomes of a batch of writes: decided in memory on what a transaction has read, then written as a whole.

Groups are decided one after the other, each on what those before it leave, so nothing is left for a second step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from stylobate.outbox import Event

from stylobate_state.index import Hold, Index, Trait
from stylobate_state.model import (
    Change,
    NotUnique,
    Refused,
    StateKey,
    StateRecord,
    TooLong,
    Withheld,
    Write,
    WriteOutcome,
    grouped,
)
from stylobate_state.store import deciding


@dataclass(frozen=True, slots=True)
class Known:
    """An index as this process knows it."""

    id: int
    index: Index
    is_strict: bool
    """Whether what it refuses is refused; else it is noted in its entries."""


class Place(NamedTuple):
    """Where an object stands in an index."""

    sort: bytes
    owner: str | None
    hold: Hold


@dataclass(frozen=True, slots=True, order=True)
class Value:
    """What one object alone may have."""

    index: int
    tenant: str
    sort: bytes


Indexes = Callable[[str], Sequence[Known]]
"""Gives the indexes of a namespace."""


@dataclass
class Made:
    """A write that is made, with what it changes."""

    write: Write
    state: StateRecord
    before: StateRecord | None
    """What was alive."""
    event: Event
    left: list[int] = field(default_factory=list)
    """Indexes that it leaves, or in which it changes."""
    entered: list[tuple[int, Place]] = field(default_factory=list)


class _Move(NamedTuple):
    """What a write does to an object's place in an index."""

    known: Known
    was: Place | None
    place: Place | None


class Batch:
    """One batch.

    :param present: what stands at the keys. :param now: the time that changes carry.
    """

    def __init__(self, writes: Sequence[Write], present: Mapping[StateKey, StateRecord], indexes: Indexes, now: datetime) -> None:
        self.made: list[Made] = []
        self.outcomes: list[WriteOutcome] = []
        self._groups = grouped(writes)
        self._present = present
        self._now = now
        self._states = {write.key: self._state(write) for write in writes if deciding.holds(write, present.get(write.key))}
        self._moves = {key: self._moved(state, indexes(key.namespace)) for key, state in self._states.items()}
        self._taken: dict[Value, str] = {}

    def wanted(self) -> set[Value]:
        """Return the values that only one may have and that the batch wants: who has them is to be looked up."""
        return {
            Value(known.id, key.tenant, place.sort)
            for key, moves in self._moves.items()
            for known, was, place in moves.values()
            if place is not None and place.hold is Hold.ALONE and not (known.is_strict and place == was)
        }

    def decide(self, taken: Mapping[Value, str]) -> None:
        """Decide each group.

        :param taken: of the values that are wanted, those that an object has, and its key.
        """
        self._taken = dict(taken)
        for group in self._groups:
            refused = [self._refusal(write, group) for write in group]
            if any(refused):
                self.outcomes += [outcome or Withheld() for outcome in refused]
                continue
            for write in group:
                self._give_up(write.key)
            self.made += [self._made(write) for write in group]
            self.outcomes += [deciding.written(self._states[write.key]) for write in group]

    def _state(self, write: Write) -> StateRecord:
        present = self._present.get(write.key)
        if present is None:
            return deciding.made(write, None, 1, self._now)
        return deciding.made(write, present, present.version + 1, max(self._now, present.updated_at))

    def _moved(self, state: StateRecord, indexes: Sequence[Known]) -> dict[int, _Move]:
        alive = deciding.live(self._present.get(state.key)) if indexes else None
        return {
            known.id: _Move(known, None if alive is None else placed(known.index, alive), placed(known.index, state))
            for known in indexes
        }

    def _refusal(self, write: Write, group: Sequence[Write]) -> WriteOutcome | None:
        if write.key not in self._states:
            alive = deciding.live(self._present.get(write.key))
            return Refused(alive.version if alive is not None else 0)
        for known, _, place in self._moves[write.key].values():
            if place is None or not known.is_strict:
                continue
            if place.hold is Hold.TOO_LONG:
                return TooLong(known.index)
            if place.hold is Hold.ALONE and (holder := self._holder(known, write.key, place, group)) is not None:
                return NotUnique(known.index, write.key._replace(key=holder))
        return None

    def _holder(self, known: Known, key: StateKey, place: Place, group: Sequence[Write]) -> str | None:
        """Return who else has the values: another of the group that comes before, or who has them and does not give them up."""
        together = [write.key for write in group if write.key[:2] == key[:2]]
        for other in together[: together.index(key)]:
            if self._sort(known, other) == place.sort:
                return other.key
        holder = self._taken.get(Value(known.id, key.tenant, place.sort))
        if holder is None or holder == key.key:
            return None
        at = key._replace(key=holder)
        gives_up = at in together and at in self._states and self._sort(known, at) != place.sort
        return None if gives_up else holder

    def _sort(self, known: Known, key: StateKey) -> bytes | None:
        """Return where the batch puts an object; None: nowhere."""
        move = self._moves.get(key, {}).get(known.id)
        return None if move is None or move.place is None else move.place.sort

    def _give_up(self, key: StateKey) -> None:
        """Free the values that the object had and will not have."""
        for known, was, place in self._moves[key].values():
            if was is None or (place is not None and place.sort == was.sort):
                continue
            value = Value(known.id, key.tenant, was.sort)
            if self._taken.get(value) == key.key:
                del self._taken[value]

    def _made(self, write: Write) -> Made:
        key, state = write.key, self._states[write.key]
        before = deciding.live(self._present.get(key))
        # one that is moved to another schema version keeps its time; its event has one of its own
        time = max(self._now, state.updated_at) if write.change is Change.MIGRATED else state.updated_at
        made = Made(write, state, before, deciding.event(write, state, before, time))
        for known, was, place in self._moves[key].values():
            if known.is_strict and was == place:
                continue
            if was is not None or not known.is_strict:
                made.left.append(known.id)
            if place is not None:
                made.entered.append((known.id, self._held(known, key, place)))
        return made

    def _held(self, known: Known, key: StateKey, place: Place) -> Place:
        """Return a place as it is entered: as a duplicate where another has the values, in an index that is not strict yet."""
        if place.hold is Hold.ALONE and self._taken.setdefault(Value(known.id, key.tenant, place.sort), key.key) != key.key:
            return place._replace(hold=Hold.DUPLICATE)
        return place


def placed(index: Index, state: StateRecord) -> Place | None:
    """Return where an object stands in an index as if it were alone; None: it is not in it."""
    trait, parts = index.parts(state.data, state.owner)
    sort = None if state.is_deleted else index.sort(parts, state.status, state.created_at, state.updated_at)
    if sort is None:
        return None
    hold = Hold.TOO_LONG if trait is Trait.TOO_LONG else Hold.PLAIN
    if index.is_unique and trait is Trait.WHOLE:
        hold = Hold.ALONE
    return Place(sort, state.owner if index.by_owner else None, hold)
