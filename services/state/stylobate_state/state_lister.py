"""Lists of state objects: by key, or by what an index is sorted by; access is part of the query."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import msgspec
from stylobate.declarations.evaluate import AccessEvaluator, may_own, refusal
from stylobate.declarations.rules import OWNER
from stylobate.errors import InvalidInputError, Violation
from stylobate.identity import Principal
from stylobate.identity.resources import state_namespace
from stylobate.keys import unreadable
from stylobate.paging import no_token, page_position, page_size, page_token

from stylobate_state.errors import StateSortTooBroadError
from stylobate_state.fields import ALL_SEEN, FieldSight
from stylobate_state.filters import Filter
from stylobate_state.model import MOST_SORTED, IndexQuery, ListQuery, StateRecord, TooMany
from stylobate_state.namespace import Namespace
from stylobate_state.query_plan import Plan, wanted_index
from stylobate_state.query_planner import QueryPlanner
from stylobate_state.store.port import StateStore

MOST_COUNTED = 10_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a listing."""

    items: Sequence[T]
    next_token: str
    """Empty on the last page."""
    count: int | None = None
    """How many there are on all pages, up to the bound that was asked for."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """What to list, as the caller says it."""

    status: str = ""
    """Only objects in this status, without an index; empty: all. Not together with filters."""
    filters: Sequence[Filter] = ()
    sort: str = ""
    """A field, `-` before it to go down; empty: by key, with filters by the field of the index that they leave open. Where no
    index has what the filters find in this order, up to MOST_SORTED objects are sorted."""
    size: int = 0
    """0 means 50; at most 500. A page also ends before it grows over 8 MiB."""
    token: str = ""
    count_up_to: int = 0
    """Count the objects on all pages, but not further than this; 0: do not count."""
    may_lag: bool = False
    """Whether the objects may be a moment old, from a replica."""


EVERYTHING = ListRequest()


@dataclass(frozen=True, slots=True)
class Whose:
    """Which objects a caller may list."""

    owner: str | None = None
    """This one's."""
    keys: frozenset[str] | None = None
    """And what stands at these keys, which it is granted; None: nothing. Neither of both: everybody's objects."""

    @property
    def is_own(self) -> bool:
        """Whether all of them are the caller's own."""
        return self.owner is not None and self.keys is None


EVERYBODYS = Whose()


class StateLister:
    """Lists what a principal may list."""

    def __init__(self, store: StateStore, access: AccessEvaluator) -> None:
        self._store = store
        self._access = access
        self._planner = QueryPlanner(store, access)

    async def list_states(
        self, principal: Principal, namespace: Namespace, request: ListRequest, fields: FieldSight = ALL_SEEN
    ) -> Page[StateRecord]:
        """See StateManager. The objects are whole; what the caller does not see of them answers no query.

        :param fields: what is closed to the principal.
        """
        whose = await self._whose(principal, namespace)
        if not 0 <= request.count_up_to <= MOST_COUNTED:
            detail = f"must be 0 to {MOST_COUNTED}"
            raise InvalidInputError(violations=[Violation("/count_up_to", detail)])
        wanted = _only_owner(request)
        if wanted is not None and (whose is EVERYBODYS or wanted == whose.owner):
            return await self._by_key(principal.tenant, Whose(wanted), namespace, replace(request, filters=()))
        if wanted is not None and whose.keys is None:
            return Page((), "", 0 if request.count_up_to else None)
        if request.filters or request.sort:
            return await self._by_index(principal, whose, namespace, fields, request)
        return await self._by_key(principal.tenant, whose, namespace, request)

    async def _whose(self, principal: Principal, namespace: Namespace) -> Whose:
        """Return which objects the principal may list. Raises UnauthenticatedError, PermissionDeniedError: none, ever."""
        rule, everything = namespace.access.list, state_namespace(namespace.name)
        if await self._access.allows(rule, principal, resource=everything):
            return EVERYBODYS
        keys = (await self._access.granted(rule, principal, everything)).keys(namespace.name)
        owner = principal.subject if OWNER in rule.terms and may_own(principal) else None
        if owner is None and not keys:
            raise refusal(rule, principal, f"list {namespace.name}", everything)
        return Whose(owner, keys or None)

    async def _by_key(self, tenant: str, whose: Whose, namespace: Namespace, request: ListRequest) -> Page[StateRecord]:
        about = ("states", namespace.name, request.status)
        namespace.check_status(request.status)
        if request.status and request.count_up_to:
            detail = "a list by `status` is not counted; filter[status][eq] with an index is"
            raise InvalidInputError(violations=[Violation("/count_up_to", detail)])
        limit = page_size(request.size)
        after = page_position(about, request.token)
        if after and unreadable(after):
            raise no_token()
        query = ListQuery(
            tenant,
            namespace.name,
            limit,
            after=after,
            status=request.status,
            owner=whose.owner,
            may_lag=request.may_lag,
            keys=whose.keys,
        )
        found = await self._store.list_states(query)
        count = await self._store.count(replace(query, limit=request.count_up_to, after="")) if request.count_up_to else None
        return Page(found.items, page_token(about, found.items[-1].key.key) if found.has_more else "", count)

    async def _by_index(
        self, principal: Principal, whose: Whose, namespace: Namespace, fields: FieldSight, request: ListRequest
    ) -> Page[StateRecord]:
        if request.status:
            raise InvalidInputError(violations=[Violation("/status", "with filters or a sort, say filter[status][eq]")])
        limit = page_size(request.size)
        asked = await self._planner.plan(
            principal, namespace, request.filters, sort=request.sort, is_own=whose.is_own, fields=fields
        )
        for plan, about, after in _places(namespace.name, asked.plans, request):
            query = IndexQuery(
                principal.tenant,
                plan.index,
                plan.ranges,
                limit,
                is_descending=asked.sort is not None and asked.sort.is_descending,
                after=after,
                owner=whose.owner,
                may_lag=request.may_lag,
                order=plan.order,
                keys=whose.keys,
            )
            part = await self._store.query(query)
            if part is None:
                continue
            if isinstance(part, TooMany):
                wanted = wanted_index(asked.conditions, asked.sort) if asked.sort is not None else ()
                raise StateSortTooBroadError(plan.index, request.sort, MOST_SORTED, wanted)
            count = (
                await self._store.count(replace(query, limit=request.count_up_to, after=None)) if request.count_up_to else None
            )
            last = part.items[-1] if part.has_more else None
            token = "" if last is None else page_token(about, f"{base64.b64encode(last.place).decode()}.{last.state.key.key}")
            return Page([item.state for item in part.items], token, count)
        raise await self._planner.not_ready(asked, is_everybodys=whose is EVERYBODYS)


def _only_owner(request: ListRequest) -> str | None:
    """Return whose objects are asked for where nothing else is: that needs no index of the namespace."""
    if len(request.filters) != 1 or request.sort or request.status:
        return None
    (only,) = request.filters
    return only.values[0] if (only.field, only.operator, len(only.values)) == ("owner", "eq", 1) else None


def _places(
    namespace: str, found: Sequence[Plan], request: ListRequest
) -> list[tuple[Plan, tuple[str, ...], tuple[bytes, str] | None]]:
    """Return each plan with what its tokens name and where the request's token goes on; only those that the token is of."""
    query = msgspec.json.encode([sorted(request.filters), request.sort])
    places: list[tuple[Plan, tuple[str, ...], tuple[bytes, str] | None]] = []
    for plan in found:
        said = hashlib.blake2b(query + plan.index.definition.encode(), digest_size=12)
        about = ("states", namespace, said.hexdigest())
        try:
            places.append((plan, about, _place(page_position(about, request.token))))
        except InvalidInputError:
            continue  # of another index, or another query
    if not places:
        raise no_token()
    return places


def _place(position: str) -> tuple[bytes, str] | None:
    """Return the bytes and the key in a position; None for an empty one. Raises InvalidInputError."""
    if not position:
        return None
    place, _, key = position.partition(".")
    try:
        found = base64.b64decode(place, validate=True)
    except ValueError:
        raise no_token() from None
    if not key or unreadable(key):
        raise no_token()
    return found, key
