"""How what a watch follows stands: its snapshot, in parts."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from stylobate_state.fields import FieldSight
from stylobate_state.model import IndexQuery, ListQuery, StateKey, StateRecord, is_among
from stylobate_state.namespace import Namespace
from stylobate_state.query_plan import Plan
from stylobate_state.query_planner import Query, QueryPlanner
from stylobate_state.state_reader import StateReader
from stylobate_state.store.part import Part
from stylobate_state.store.port import StateStore
from stylobate_state.watch.followed import EVERYTHING, Followed
from stylobate_state.watch.told import Sight
from stylobate_state.watch.view import View

_PART = 200
_PART_BYTES = 1024 * 1024
"""Of what is read of the log at once the log has its own bound."""


class Pages:
    """Reads the objects of one watch, in the order of their keys, with filters in that of an index."""

    def __init__(
        self, view: View, namespace: Namespace, *, store: StateStore, reader: StateReader, planner: QueryPlanner
    ) -> None:
        self._view = view
        self._namespace = namespace
        self._store = store
        self._reader = reader
        self._planner = planner
        self._owner: str | None = None
        self._keys: frozenset[str] | None = None
        self._query: Query | None = None
        self._plan: Plan | None = None
        self._after: tuple[bytes, str] | None = None

    async def begin(self, sight: Sight, fields: FieldSight) -> Followed:
        """Begin anew, for a caller who sees this; return what the objects must be. Raises as :meth:`QueryPlanner.plan` does."""
        view = self._view
        self._owner = view.principal.subject if sight.is_owners else None
        self._keys = sight.keys or None
        self._plan = self._after = None
        if not view.filters:
            return EVERYTHING
        self._query = await self._planner.plan(view.principal, self._namespace, view.filters, is_own=sight.is_own, fields=fields)
        return Followed(self._query.kinds, self._query.conditions)

    async def next(self, may_see: Callable[[StateRecord], bool]) -> tuple[Sequence[StateRecord], bool]:
        """Return the next part, and whether it is the last one.

        :param may_see: whether the caller may see a single object. :raises StateIndexNotReadyError: no index can be asked.
        """
        view = self._view
        if view.key:
            found = await self._reader.one(StateKey(view.principal.tenant, view.namespace, view.key))
            is_there = found is not None and not found.is_deleted and view.status in {"", found.status}
            return ([found] if found is not None and is_there and may_see(found) else [], True)
        if self._query is not None:
            return await self._by_index(self._query)
        after = self._after[1] if self._after is not None else ""
        page = await self._store.list_states(
            ListQuery(
                view.principal.tenant,
                view.namespace,
                _PART,
                _PART_BYTES,
                after=after,
                status=view.status,
                owner=self._owner,
                keys=self._keys,
            )
        )
        if page.items:
            self._after = b"", page.items[-1].key.key
        return page.items, not page.has_more

    async def _by_index(self, query: Query) -> tuple[Sequence[StateRecord], bool]:
        """Return the next part of the first index that is ready; the parts behind it are of the same one.

        Only where lists are by owner an index knows the owners; elsewhere the objects do.
        """
        for plan in query.plans if self._plan is None else (self._plan,):
            asked = IndexQuery(
                self._view.principal.tenant,
                plan.index,
                plan.ranges,
                _PART,
                after=self._after,
                owner=self._owner if plan.index.by_owner else None,
                max_bytes=_PART_BYTES,
                keys=self._keys if plan.index.by_owner or self._owner is None else None,
            )
            page = await self._store.query(asked)
            if isinstance(page, Part):
                self._plan = plan
                if page.items:
                    self._after = page.items[-1].place, page.items[-1].state.key.key
                states = [item.state for item in page.items]
                whose = replace(asked, owner=self._owner, keys=self._keys)
                return [one for one in states if is_among(whose, one.owner, one.key.key)], not page.has_more
        raise await self._planner.not_ready(query, is_everybodys=self._owner is None and self._keys is None)
