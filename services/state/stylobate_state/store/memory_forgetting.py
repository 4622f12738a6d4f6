"""Taking the data of older versions away in memory."""

from collections.abc import Collection
from dataclasses import replace

from stylobate_state.model import Change, HistoryEntry, StateKey
from stylobate_state.store.forgetting import Erased, Forgetting, Forgot
from stylobate_state.store.memory import MemoryStateStore


class MemoryForgettingStore:
    """A ForgettingStore over a MemoryStateStore, in one step. Events in its log stay as they are: nobody comes back to them."""

    def __init__(self, store: MemoryStateStore) -> None:
        self._store = store

    async def forget(self, forgetting: Forgetting, most: int) -> Forgot:
        """See ForgettingStore."""
        del most
        count = 0
        latest = self._store.clock() - forgetting.age
        for key, entries in self._store.history.items():
            if key.namespace != forgetting.namespace:
                continue
            lost: set[int] = set()
            for place, entry in enumerate(entries):
                if entry.time > latest:
                    break
                is_undone = place + 1 < len(entries) and entries[place + 1].restored_from > 0
                if forgetting.behind:
                    lost.add(entry.version - forgetting.behind)
                elif entry.change is Change.DELETED and not is_undone:
                    lost.update(range(1, entry.version))
            count += _take(entries, lost)
        return Forgot(count, has_more=False)

    async def forget_person(
        self, tenant: str, namespace: str, person: str, *, erases: bool, after: tuple[str, int], most: int
    ) -> tuple[str, int] | None:
        """See ForgettingStore; all at once."""
        del after, most
        for key, entries in self._store.history.items():
            if (key.tenant, key.namespace) != (tenant, namespace):
                continue
            present = self._store.objects[key]
            is_gone = present.is_deleted and present.owner == person
            if erases and is_gone:
                _take(entries, {entry.version for entry in entries})
            for place, entry in enumerate(entries):
                actor, owner, before = (
                    "" if said == person else said for said in (entry.actor, entry.owner, entry.previous_owner)
                )
                entries[place] = replace(entry, actor=actor, owner=owner, previous_owner=before)
            if is_gone:
                self._store.objects[key] = replace(present, owner="")
        return None

    async def erase(self, key: StateKey) -> Erased:
        """See ForgettingStore."""
        present, entries = self._store.objects.get(key), self._store.history.get(key, [])
        living = present.version if present is not None and not present.is_deleted else 0
        return Erased(_take(entries, {entry.version for entry in entries} - {living}), living)


def _take(entries: list[HistoryEntry], lost: Collection[int]) -> int:
    """Take the data of these versions away and return how many had any."""
    count = 0
    for place, entry in enumerate(entries):
        if entry.version in lost and not entry.is_forgotten:
            entries[place] = replace(entry, data=b"", is_forgotten=True)
            count += 1
    return count
