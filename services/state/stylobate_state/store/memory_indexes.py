"""Indexes in memory, for tests: the plainest statement of what a store does with them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stylobate.declarations.indexes import path_of
from stylobate.declarations.model import IndexField

from stylobate_state.index import Hold, Index, Trait, place_by, problem
from stylobate_state.index_encoding import members
from stylobate_state.model import (
    MOST_SORTED,
    IndexQuery,
    IndexStanding,
    NotUnique,
    StateKey,
    StateRecord,
    TooLong,
    TooMany,
    is_among,
)


class _Entry(NamedTuple):
    sort: bytes
    owner: str
    hold: Hold
    holder: str = ""
    """For a duplicate, the key that has the values."""


@dataclass
class _Kept:
    """An index and what is in it."""

    index: Index
    is_ready: bool
    entries: dict[tuple[str, str], _Entry] = field(default_factory=dict)
    """By tenant and key."""
    place: StateKey | None = None
    """Up to where it is built."""
    entered: int = 0

    def entry(self, state: StateRecord, together: Sequence[StateRecord] = ()) -> _Entry | None:
        """Return what the object would be in it; None for one that is not in it.

        :param together: all that changes with it, itself among them; what they give up is free, and the first to want it has it.
        """
        trait, parts = self.index.parts(state.data, state.owner)
        sort = None if state.is_deleted else self.index.sort(parts, state.status, state.created_at, state.updated_at)
        if sort is None:
            return None
        if trait is Trait.TOO_LONG:
            return _Entry(sort, state.owner, Hold.TOO_LONG)
        if not self.index.is_unique or trait is not Trait.WHOLE:
            return _Entry(sort, state.owner, Hold.PLAIN)
        holder = self._holder(state, sort, together)
        return _Entry(sort, state.owner, Hold.ALONE if holder is None else Hold.DUPLICATE, holder or "")

    def _holder(self, state: StateRecord, sort: bytes, together: Sequence[StateRecord]) -> str | None:
        """Return who else has the values, or is before it in wanting them."""
        wanted = {other.key: self._sort(other) for other in together if other.key.tenant == state.key.tenant}
        for key, place in wanted.items():
            if key == state.key:
                break
            if place == sort:
                return key.key
        for (tenant, name), other in self.entries.items():
            if tenant != state.key.tenant or name == state.key.key or (other.sort, other.hold) != (sort, Hold.ALONE):
                continue
            if wanted.get(state.key._replace(key=name), sort) == sort:
                return name
        return None

    def _sort(self, state: StateRecord) -> bytes | None:
        """Return the bytes of an object in it; None for one that is not in it."""
        _, parts = self.index.parts(state.data, state.owner)
        return None if state.is_deleted else self.index.sort(parts, state.status, state.created_at, state.updated_at)

    def leave(self, state: StateRecord) -> None:
        """Take the object out of it, unless it stays where it is."""
        name = state.key.tenant, state.key.key
        if name in self.entries and self.entries[name].sort != self._sort(state):
            del self.entries[name]

    def enter(self, state: StateRecord) -> None:
        """Put the object as it stands into it, or out of it."""
        entry, name = self.entry(state), (state.key.tenant, state.key.key)
        if entry is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = entry

    def build(self, objects: dict[StateKey, StateRecord], most: int) -> bool:
        """Enter some objects more; return whether there are others behind them."""
        left = sorted(
            key for key in objects if key.namespace == self.index.namespace and (self.place is None or key > self.place)
        )
        for key in left[:most]:
            self.enter(objects[key])
            self.place = key
        self.entered += len(left[:most])
        if len(left) > most:
            return True
        for tenant, name in [at for at, entry in sorted(self.entries.items()) if entry.hold is Hold.DUPLICATE]:
            self.enter(objects[StateKey(tenant, self.index.namespace, name)])
        self.is_ready = not self.problem()
        return False

    def problem(self) -> str:
        """Return why it cannot be made ready."""
        amiss = sorted((name, entry) for name, entry in self.entries.items() if entry.hold > Hold.ALONE)
        if self.is_ready or not amiss:
            return ""
        (_, key), entry = amiss[0]
        return problem(self.index, key, entry.holder if entry.hold is Hold.DUPLICATE else None)


class MemoryIndexes:
    """All indexes of a store.

    :param objects: what the store holds.
    """

    def __init__(self, objects: dict[StateKey, StateRecord]) -> None:
        self._objects = objects
        self._kept: dict[Index, _Kept] = {}

    def declare(self, indexes: Sequence[Index]) -> None:
        """See StateStore."""
        for index in indexes:
            is_empty = not any(key.namespace == index.namespace for key in self._objects)
            self._kept.setdefault(index, _Kept(index, is_ready=is_empty))

    def standings(self) -> list[IndexStanding]:
        """See StateStore."""
        return [IndexStanding(kept.index, kept.is_ready, kept.entered, kept.problem()) for kept in self._kept.values()]

    def build(self, most: int) -> bool:
        """See StateStore."""
        return any(kept.build(self._objects, most) for kept in self._kept.values() if not kept.is_ready)

    def refusal(self, state: StateRecord, together: Sequence[StateRecord]) -> NotUnique | TooLong | None:
        """Return why the object may not be as it is meant.

        :param together: all that changes with it, itself among them.
        """
        for kept in self._of(state.key.namespace):
            others = [other for other in together if other.key.namespace == state.key.namespace]
            entry = kept.entry(state, others) if kept.is_ready else None
            if entry is not None and entry.hold is Hold.DUPLICATE:
                return NotUnique(kept.index, state.key._replace(key=entry.holder))
            if entry is not None and entry.hold is Hold.TOO_LONG:
                return TooLong(kept.index)
        return None

    def enter(self, states: Sequence[StateRecord]) -> None:
        """Take in objects as they were written, together."""
        for state in states:
            for kept in self._of(state.key.namespace):
                kept.leave(state)
        for state in states:
            for kept in self._of(state.key.namespace):
                kept.enter(state)

    def found(self, query: IndexQuery) -> list[tuple[bytes, StateKey]] | TooMany | None:
        """Return what the query finds, in its order, each with its place."""
        found = self._matches(query)
        if found is None:
            return None
        if query.order is not None:
            if len(found) > MOST_SORTED:
                return TooMany()
            found = [(self._place(query.order, key), key) for _, key in found]
        found.sort(key=lambda item: (item[0], item[1].key), reverse=query.is_descending)
        after = query.after
        if after is None:
            return found
        return [
            (place, key)
            for place, key in found
            if ((place, key.key) < after if query.is_descending else (place, key.key) > after)
        ]

    def count(self, query: IndexQuery) -> int | None:
        """See StateStore."""
        found = self._matches(query)
        return None if found is None else min(len(found), query.limit)

    def _matches(self, query: IndexQuery) -> list[tuple[bytes, StateKey]] | None:
        """Return what lies in the ranges, each with its bytes behind the cut; None where the index is not ready."""
        kept = self._kept.get(query.index)
        if kept is None or not kept.is_ready:
            return None
        return [
            (entry.sort[cut:], StateKey(tenant, query.index.namespace, key))
            for (tenant, key), entry in kept.entries.items()
            for low, high, cut in query.ranges
            if tenant == query.tenant and low <= entry.sort < high and is_among(query, entry.owner, key)
        ]

    def _place(self, order: IndexField, key: StateKey) -> bytes:
        state = self._objects[key]
        (raw,) = members(state.data, [path_of(order.name)])
        return place_by(
            order, raw, owner=state.owner, status=state.status, created_at=state.created_at, updated_at=state.updated_at
        )

    def _of(self, namespace: str) -> Iterable[_Kept]:
        return (kept for kept in self._kept.values() if kept.index.namespace == namespace)
