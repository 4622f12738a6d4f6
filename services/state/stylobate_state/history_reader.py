"""The history of an object: all of it, or what filters let through."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from stylobate.clients.state import StateNotFoundError
from stylobate.date_time import FORM, time_of
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.errors import InvalidInputError, Violation
from stylobate.identity import Principal
from stylobate.identity.resources import state_object
from stylobate.paging import no_token, page_position, page_size, page_token

from stylobate_state.errors import (
    StateEphemeralError,
    StateVersionDeletedError,
    StateVersionForgottenError,
    StateVersionNotFoundError,
)
from stylobate_state.fields import FieldSight
from stylobate_state.model import Change, HistoryEntry, HistoryQuery, StateKey, StateRecord
from stylobate_state.namespace import Namespace
from stylobate_state.people import People
from stylobate_state.sealing import NO_SEALING, Sealing
from stylobate_state.state_lister import Page
from stylobate_state.state_reader import StateReader
from stylobate_state.store.port import StateStore

MAX_VERSION = 2**63 - 1
_JUST = timedelta(microseconds=1)
_LATEST = datetime.max.replace(tzinfo=UTC) - _JUST


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """What of a history to list, as the caller says it. All of it must hold."""

    after_version: int = 0
    """Only versions above it; 0: from the first on."""
    before_version: int = 0
    """Only versions below it; 0: up to the newest."""
    since: str = ""
    """Only what happened then or later, as RFC 3339; empty: from the beginning."""
    until: str = ""
    """Only what happened before it, as RFC 3339; empty: up to now."""
    actor: str = ""
    """Only what this subject did; empty: whoever it was."""
    change: str = ""
    """Only changes of this name; empty: all."""
    size: int = 0
    """0 means 50; at most 500. A page also ends before it grows over 8 MiB."""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """When in the history of an object, as the caller says it: either of them."""

    version: int = 0
    as_of: str = ""
    """As RFC 3339: the newest version that was made until then."""

    def check(self) -> None:
        """Raise InvalidInputError for what says no moment, or two."""
        if self.as_of and self.version:
            raise _refused("/as_of", "stands beside `version`; one of them says when")
        if not self.as_of and self.version < 1:
            raise _refused("/version", "must be 1 or more")

    def __str__(self) -> str:
        """Return ``at version 7``, or ``at <time>``."""
        return f"at {self.as_of}" if self.as_of else f"at version {self.version}"


ALL_OF_IT = HistoryRequest()


class HistoryReader:
    """Reads what happened to objects, for who may read them."""

    def __init__(
        self,
        store: StateStore,
        access: AccessEvaluator,
        reader: StateReader,
        clock: Callable[[], datetime],
        sealing: Sealing = NO_SEALING,
    ) -> None:
        self._store = store
        self._sealing = sealing
        self._clock = clock
        self._access = access
        self._reader = reader

    async def list(
        self, principal: Principal, namespace: Namespace, key: StateKey, request: HistoryRequest
    ) -> Page[HistoryEntry]:
        """See StateManager.list_history."""
        state = await self._readable(principal, namespace, key)
        first = await self._first_readable(principal, namespace, state)
        kept = namespace.first_kept(state, self._clock())
        since, until = _time("/since", request.since), _time("/until", request.until)
        change = _change(request.change)
        _check_order(request, since, until)
        about = _about(key, request)
        position, limit = _version(page_position(about, request.token)), page_size(request.size)
        low, high = max(first, kept, min(request.after_version + 1, MAX_VERSION)), request.before_version or MAX_VERSION
        if since is not None:
            low = max(low, await self._store.version_before(key, since) + 1)
        if until is not None:
            high = min(high, await self._store.version_before(key, until) + 1)
        before = min(high, position or MAX_VERSION)
        people = None
        if not principal.subject or state.owner != principal.subject:
            people = await People.seen(self._access, namespace.shows_people, principal, namespace.name, key.key)
        if request.actor and people is not None and not people.knows(request.actor):
            return Page((), "")  # who is not shown is not found either
        query = HistoryQuery(key, limit, before=before, since=low, actor=request.actor, change=change)
        found = await self._store.list_history(query)
        fields, is_owner = await self._fields(principal, namespace, state)
        opened = [await self._sealing.entry(namespace, key, item) for item in found.items]
        items = [fields.shows_entry(item, is_own=is_owner and item.version >= state.first_version) for item in opened]
        if people is not None:
            items = [*map(people.shows_entry, items)]
        return Page(items, page_token(about, str(found.items[-1].version)) if found.has_more else "")

    async def at(self, principal: Principal, namespace: Namespace, key: StateKey, asked: Moment) -> StateRecord:
        """See StateManager.version."""
        state = await self._readable(principal, namespace, key)
        first = await self._first_readable(principal, namespace, state)
        asked.check()
        version = asked.version
        if (time := _time("/as_of", asked.as_of)) is not None:
            version = await self._store.version_before(key, min(time, _LATEST) + _JUST)
        entry = await self._entry(namespace, state, version, first, str(asked))
        fields, is_owner = await self._fields(principal, namespace, state)
        entry = fields.shows_entry(entry, is_own=is_owner and version >= state.first_version)
        created_at = state.created_at if version >= state.first_version else await self._created_at(key, version)
        return StateRecord(
            key,
            version,
            entry.to_status,
            entry.data,
            "",
            created_at,
            entry.time,
            schema_version=entry.schema_version,
            is_other_schema=entry.schema_version != namespace.schema_version,
        )

    async def entry(self, principal: Principal, namespace: Namespace, state: StateRecord, version: int) -> HistoryEntry:
        """Return an older version of an object, for who may read it.

        :raises StateVersionNotFoundError: there is none, or it is not the principal's to see.
        :raises StateVersionDeletedError: it is that of a deletion.
        :raises StateVersionForgottenError: its data is not kept any more.
        :raises StateFieldUnreadableError: an encrypted field of it cannot be opened.
        """
        moment = Moment(version)
        moment.check()
        first = await self._first_readable(principal, namespace, state)
        return await self._entry(namespace, state, version, first, str(moment))

    async def _entry(self, namespace: Namespace, state: StateRecord, version: int, first: int, when: str) -> HistoryEntry:
        key = state.key
        is_possible = first <= version < MAX_VERSION
        query = HistoryQuery(key, 1, before=version + 1, since=version)
        found = (await self._store.list_history(query)).items if is_possible else ()
        if not found:
            raise StateVersionNotFoundError(key.namespace, key.key, when)
        if found[0].change is Change.DELETED:
            raise StateVersionDeletedError(key.namespace, key.key, version)
        if found[0].is_forgotten or version < namespace.first_kept(state, self._clock()):
            raise StateVersionForgottenError(key.namespace, key.key, version)
        return replace(found[0], data=await self._sealing.data(namespace, key, found[0].data))

    async def _created_at(self, key: StateKey, version: int) -> datetime:
        """Return when the object was created that stood at the key at a version; undoing a deletion does not count."""
        while True:
            query = HistoryQuery(key, 1, before=version + 1, change=Change.CREATED)
            entry = (await self._store.list_history(query)).items[0]
            if not entry.restored_from:
                return entry.time
            version = entry.version - 1

    async def _readable(self, principal: Principal, namespace: Namespace, key: StateKey) -> StateRecord:
        """Return what stands at the key, a tombstone too. Raises StateNotFoundError or a refusal before anything is said."""
        rule, resource = namespace.access.read, state_object(key.namespace, key.key)
        state = await self._reader.one(key)
        if state is None or not await self._access.allows(rule, principal, state.owner, resource):
            namespace.check_new_key(key.key)
            await self._access.require_possible(rule, principal, f"read {key.namespace}/{key.key}", resource)
            raise StateNotFoundError(key.namespace, key.key)
        return state

    async def _fields(self, principal: Principal, namespace: Namespace, state: StateRecord) -> tuple[FieldSight, bool]:
        """Return what is closed to the principal, and whether the object that stands there, or stood there last, is theirs."""
        fields = await namespace.fields.sight(self._access, principal, state.key.key)
        return fields, bool(fields.subject) and state.owner == fields.subject

    async def _first_readable(self, principal: Principal, namespace: Namespace, state: StateRecord) -> int:
        """Return the first version that the principal may read: for one who may only as the owner, since when it is theirs.

        Raises StateEphemeralError where there is no history.
        """
        if not self._store.part(namespace.name).has_events:
            raise StateEphemeralError(namespace.name, "history")
        resource = state_object(namespace.name, state.key.key)
        is_everybodys = await self._access.allows(namespace.access.read, principal, resource=resource)
        return 1 if is_everybodys else state.first_version


def _about(key: StateKey, request: HistoryRequest) -> tuple[str, ...]:
    """Return what tells the tokens of this listing from those of others."""
    about = ("history", key.namespace, key.key)
    filters = (request.after_version, request.before_version, request.since, request.until, request.actor, request.change)
    return (*about, *map(str, filters)) if any(filters) else about


def _time(place: str, text: str) -> datetime | None:
    found = time_of(text) if text else None
    if text and found is None:
        raise _refused(place, FORM)
    return found


def _change(name: str) -> Change | None:
    if name and name not in set(Change):
        raise _refused("/change", f"is not a change; there are: {', '.join(Change)}")
    return Change(name) if name else None


def _check_order(request: HistoryRequest, since: datetime | None, until: datetime | None) -> None:
    """Raise InvalidInputError for bounds that no version can lie between."""
    low, high = request.after_version, request.before_version
    for place, version in (("/after_version", low), ("/before_version", high)):
        if version < 0:
            raise _refused(place, "must not be negative")
    if high and high <= low + 1:
        raise _refused("/before_version", f"contradictory: there is no version above {low} and below {high}")
    if since is not None and until is not None and until <= since:
        raise _refused("/until", "contradictory: is not later than `since`")


def _refused(place: str, detail: str) -> InvalidInputError:
    return InvalidInputError(violations=[Violation(place, detail)])


def _version(position: str) -> int | None:
    if not position:
        return None
    if not (position.isascii() and position.isdecimal()) or len(position) > 18:  # noqa: PLR2004  what a bigint holds for sure
        raise no_token()
    return int(position)
