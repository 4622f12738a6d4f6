"""What filters ask for of a namespace, in the eyes of their caller: the conditions, and the indexes that answer them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stylobate.declarations.evaluate import AccessEvaluator, refusal
from stylobate.identity import Principal
from stylobate.identity.resources import state_namespace

from stylobate_state.errors import StateIndexNotReadyError
from stylobate_state.fields import FieldSight, open_indexes
from stylobate_state.filters import Condition, Filter, Points, read_filters
from stylobate_state.namespace import Namespace
from stylobate_state.query_plan import Plan, Sort, plans, read_sort
from stylobate_state.store.port import StateStore


@dataclass(frozen=True, slots=True)
class Query:
    """Filters and a sort, understood."""

    kinds: Mapping[str, str]
    """The kind of each field that the caller may ask for."""
    conditions: Mapping[str, Condition]
    sort: Sort | None
    plans: Sequence[Plan]
    """Each answers it; at least one."""


class QueryPlanner:
    """Plans queries by what a caller may ask: hidden fields and unknown owners answer nothing."""

    def __init__(self, store: StateStore, access: AccessEvaluator) -> None:
        self._store = store
        self._access = access

    async def plan(
        self,
        principal: Principal,
        namespace: Namespace,
        filters: Sequence[Filter],
        *,
        sort: str = "",
        is_own: bool,
        fields: FieldSight,
    ) -> Query:
        """Return what is asked for, and what answers it.

        :param sort: a field, `-` before it to go down; empty: what the index leaves open. :param is_own: whether only
            the principal's own objects are looked through. :param fields: what is closed to the principal.
        :raises InvalidInputError: a filter or the sort is none. :raises StateQueryNotIndexedError: no index answers it.
        :raises PermissionDeniedError: it would tell the caller of owners.
        """
        indexes = open_indexes(namespace.indexes, fields.of_own if is_own else fields.of_others)
        kinds = {field.name: field.kind for index in indexes for field in index.fields}
        conditions = read_filters(filters, kinds, namespace.statuses)
        wanted = read_sort(sort, kinds)
        found = plans(namespace.name, indexes, conditions, wanted)
        if not is_own:
            found = await self._without_owners(principal, namespace, found, conditions)
        return Query(kinds, conditions, wanted, found)

    async def not_ready(self, query: Query, *, is_everybodys: bool) -> StateIndexNotReadyError:
        """Return the error for a query none of whose indexes is ready.

        :param is_everybodys: whether everybody's objects are looked through; how far an index is, is told to who sees them.
        """
        standings = {standing.index: standing for standing in await self._store.indexes()}
        index = next((plan.index for plan in query.plans if plan.index in standings), query.plans[0].index)
        standing = standings.get(index)
        entered = standing.entered if standing is not None else 0
        has_problem = standing is not None and bool(standing.problem)
        return StateIndexNotReadyError(index, entered=entered if is_everybodys else None, has_problem=has_problem)

    async def _without_owners(
        self, principal: Principal, namespace: Namespace, found: list[Plan], conditions: Mapping[str, Condition]
    ) -> list[Plan]:
        """Return the plans that tell the caller of no owners: in an order of owners one could look for ids bit by bit."""
        silent = [plan for plan in found if all(field.name != "owner" for field in (*plan.index.fields, plan.order) if field)]
        if len(silent) == len(found) or isinstance(conditions.get("owner"), Points):
            return found
        everything = state_namespace(namespace.name)
        if await self._access.allows(namespace.shows_people, principal, resource=everything):
            return found
        if not silent:
            raise refusal(namespace.shows_people, principal, f"look for unknown owners in {namespace.name}", everything)
        return silent
