"""State objects: who may see and change them, and what they may become."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from stylobate.declarations.model import ChannelDeclaration, NamespaceDeclaration
from stylobate.errors import InvalidInputError, UnauthenticatedError, Violation
from stylobate.health import Health
from stylobate.idempotency import Claim
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.resources import state_object
from stylobate.paging import MAX_SIZE
from stylobate.rpc.call import NO_CAUSE, Cause

from stylobate_state.change_request import ChangeRequest
from stylobate_state.errors import (
    StateApartError,
    StateEphemeralError,
    StateNamespaceUnknownError,
)
from stylobate_state.history_reader import ALL_OF_IT, HistoryReader, HistoryRequest, Moment
from stylobate_state.model import HistoryEntry, StateKey, StateRecord
from stylobate_state.namespace import Namespace, check_key
from stylobate_state.operation import Fire, Operation, TimerOwnerError, Transition
from stylobate_state.people import People
from stylobate_state.sealing import unreadable_error
from stylobate_state.state_cache import NO_USE, CacheUse
from stylobate_state.state_keeper import StateKeeper
from stylobate_state.state_lister import EVERYTHING, ListRequest, Page, StateLister
from stylobate_state.state_reader import StateReader
from stylobate_state.state_writer import Environment, StateWriter
from stylobate_state.transaction import TransactionWriter, check_count, named


class Asked(NamedTuple):
    """An operation on an object."""

    namespace: str
    key: str
    operation: Operation
    expected: int | None = None
    """The version it must have; 0: it must not exist; None: any."""


_ITSELF = "service:state"


class StateManager:
    """Every use of state goes through here; access is decided before anything else is said.

    All methods raise StateNamespaceUnknownError, StateNamespaceForeignError, StateKeyInvalidError, UnauthenticatedError,
    PermissionDeniedError and DatabaseUnavailableError beside what they name.
    """

    def __init__(
        self, namespaces: Mapping[str, Namespace], environment: Environment, reader: StateReader, writer: StateWriter
    ) -> None:
        self.namespaces = namespaces
        self._store = environment.store
        self._access = environment.access
        self._reader = reader
        self._cache = environment.cache
        self._writer = writer
        self._upgrades = environment.upgrades
        self._sealing = environment.sealing
        self._lister = StateLister(environment.store, environment.access)
        self._history = HistoryReader(environment.store, environment.access, reader, environment.clock, environment.sealing)
        self._transactions = TransactionWriter(writer, reader)
        self.keeper = StateKeeper(namespaces, environment, writer)
        """Looks after what is stored, for operators."""
        self.writer = writer
        """Carries out changes, together with what else is written at the time."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        declarations: Mapping[str, NamespaceDeclaration],
        environment: Environment,
        *,
        max_data_bytes: int,
        channels: Mapping[str, ChannelDeclaration] = MappingProxyType({}),
        users: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> AsyncIterator["StateManager"]:
        """Make it usable; on leaving, the writes that were begun are finished.

        :param channels: of realtime, whose names may end in a key.
        :param users: by module, those that depend on it.
        :param max_data_bytes: the longest data of an object, as JSON text.
        """
        namespaces = {
            name: Namespace.of(
                declaration,
                [channel.name for channel in channels.values() if channel.subscribe == f"state:{name}"],
                users.get(declaration.module, ()),
                max_data_bytes=max_data_bytes,
            )
            for name, declaration in declarations.items()
        }
        async with (
            StateReader.open(environment.store, namespaces) as reader,
            StateWriter.open(environment, reader, namespaces) as writer,
        ):
            yield cls(namespaces, environment, reader, writer)

    async def get(self, principal: Principal, names: Sequence[tuple[str, str]]) -> list[StateRecord]:
        """Return the living objects among ``(namespace, key)``, at most 500, in the order asked for, each once.

        One that does not exist is left out, and likewise one that the principal may not read; but where the principal could not
        read any object, the whole is refused in both cases.
        """
        asked = self._asked(principal, names)
        return await self._readable(principal, asked, await self._reader.many([key for _, key in asked]))

    async def get_cached(self, principal: Principal, names: Sequence[tuple[str, str]]) -> tuple[list[StateRecord], CacheUse]:
        """Return the same as :meth:`get`, as it stands or stood a moment ago; who may read it is decided as of now."""
        asked = self._asked(principal, names)
        keys = [key for _, key in asked]
        kept = [key for key in keys if self._cache is not None and self._store.part(key.namespace).has_events]
        found, use = await self._cache.many(kept, self._reader.many) if self._cache is not None and kept else ({}, NO_USE)
        if others := [key for key in keys if key not in kept]:
            found |= await self._reader.many(others)
            use = replace(use, misses=use.misses + len(others))
        return await self._readable(principal, asked, found), use

    def _asked(self, principal: Principal, names: Sequence[tuple[str, str]]) -> list[tuple[Namespace, StateKey]]:
        if len(names) > MAX_SIZE:
            raise InvalidInputError(violations=[Violation("/keys", f"has more than {MAX_SIZE} entries")])
        return [self._at(principal, namespace, key) for namespace, key in dict.fromkeys(names)]

    async def _readable(
        self, principal: Principal, asked: Sequence[tuple[Namespace, StateKey]], found: Mapping[StateKey, StateRecord]
    ) -> list[StateRecord]:
        states: list[tuple[Namespace, StateRecord]] = []
        for namespace, key in asked:
            state = found.get(key)
            rule, resource = namespace.access.read, state_object(key.namespace, key.key)
            if state is not None and not state.is_deleted and await self._access.allows(rule, principal, state.owner, resource):
                states.append((namespace, state))
                continue
            namespace.check_new_key(key.key)
            await self._access.require_possible(rule, principal, f"read {key.namespace}/{key.key}", resource)
        shown = await self._upgrades.shown(states)
        seen = [await self._shown(principal, namespace, state) for (namespace, _), state in zip(states, shown, strict=True)]
        if len(asked) == 1 and seen and seen[0].unreadable:
            raise unreadable_error(seen[0])
        return seen

    async def change(
        self,
        principal: Principal,
        namespace: str,
        key: str,
        operation: Operation,
        *,
        expected: int | None,
        cause: Cause = NO_CAUSE,
        claim: Claim | None = None,
    ) -> StateRecord:
        """Do what is asked and return the object as it stands then (a tombstone for a deletion).

        :param expected: the version it must have, 0: it must not exist, None: any.
        :raises StateVersionConflictError: it has another.
        :raises StateNotFoundError: nothing is there, and the operation creates nothing.
        :raises StateStatusNotWritableError: a status is given that is not the present one.
        :raises StateOwnerNotWritableError: an owner is given that is not the present one.
        :raises StateDataInvalidError: the data is not what the namespace declares.
        :raises StateEventUnknownError: the namespace declares no such event.
        :raises StateTransitionNotAllowedError: not from the present status.
        """
        return await self._writer.change(self._request(principal, namespace, key, operation, expected, cause, claim))

    async def transact(
        self, principal: Principal, operations: Sequence[Asked], *, cause: Cause = NO_CAUSE, claim: Claim | None = None
    ) -> list[StateRecord]:
        """Do all that is asked, or nothing, and return the objects as they stand then.

        Raises what :meth:`change` raises for the first operation that is refused, with its ``index`` in the metadata;
        InvalidInputError for none, more than 50, or two of one object; StateEphemeralError, or StateApartError, for one that
        cannot happen together with the first. Where no namespace lets an anonymous caller change anything, such a one hears
        of that first.
        """
        if principal.is_anonymous and not await self._may_change(principal):
            raise UnauthenticatedError
        check_count(operations)
        requests = []
        for index, asked in enumerate(operations):
            with named(index):
                requests.append(self._request(principal, *asked, cause, claim if index == 0 else None))
                self._check_together(requests)
        return await self._transactions.change(requests)

    async def fire(self, key: StateKey, owner: str, operation: Fire) -> StateRecord:
        """Carry out a timer as the service, in the name of the object's owner: of whoever that is when it is written."""
        while True:
            principal = Principal(PrincipalKind.SERVICE, _ITSELF, tenant=key.tenant, via="state", act_for=owner)
            namespace = self._namespace(principal, key.namespace)
            try:
                return await self._writer.change(ChangeRequest(principal, NO_CAUSE, namespace, key, operation, expected=None))
            except TimerOwnerError as handed_over:
                owner = handed_over.owner

    async def list_states(self, principal: Principal, namespace: str, request: ListRequest = EVERYTHING) -> Page[StateRecord]:
        """Return the living objects that the principal may list; the filters are part of the query.

        :raises InvalidInputError: a filter, sort, size or token that says nothing here; with its place.
        :raises StateQueryNotIndexedError: no index answers it.
        :raises StateIndexNotReadyError: the index that would is not built yet.
        :raises StateUpgradeUnavailableError: there is data of an older schema version, and its module does not answer.
        """
        bound = self._namespace(principal, namespace)
        fields = await bound.fields.sight(self._access, principal)
        page = await self._lister.list_states(principal, bound, request, fields)
        states = await self._upgrades.shown([(bound, state) for state in page.items])
        shown = [*map(fields.shows, states)]
        if any(state.owner != principal.subject for state in states):
            is_all_shown = (await self._people(principal, bound)).are_shown and not fields.of_others.hidden
            if not is_all_shown:  # of single objects more may be granted
                shown = [await self._shown(principal, bound, state) for state in states]
        return Page(shown, page.next_token, page.count)

    def encrypts(self, namespace: str) -> bool:
        """Return whether fields of the namespace are stored encrypted, so that nothing else may tell what they are either."""
        return namespace in self.namespaces and bool(self.namespaces[namespace].encrypted)

    async def shows_owner(self, principal: Principal, namespace: str, key: str, owner: str) -> bool:
        """Return whether one who may read an object sees that it is this owner's."""
        if owner in {"", principal.subject}:
            return True
        return (await self._people(principal, self._namespace(principal, namespace), key)).are_shown

    async def shown_data(self, principal: Principal, namespace: str, key: str, owner: str, data: bytes) -> bytes:
        """Return the data of an object as the principal sees it now: for answers, which are made and kept as they are stored."""
        bound = self._namespace(principal, namespace)
        data = await self._sealing.data(bound, StateKey(principal.tenant, namespace, key), data)
        return (await bound.fields.sight(self._access, principal, key)).of(owner).shows(data)

    async def version(self, principal: Principal, namespace: str, key: str, moment: Moment) -> StateRecord:
        """Return the object as it was, without owner and timers; also of one that was deleted since.

        Who may read it only because they own it looks back to the version that created it for them.

        :raises StateNotFoundError: as for :meth:`list_history`.
        :raises StateVersionNotFoundError: nothing was there then.
        :raises StateVersionDeletedError: it was deleted then.
        :raises StateVersionForgottenError: its data of then is not kept any more.
        :raises InvalidInputError: no moment, or two.
        """
        return await self._history.at(principal, *self._at(principal, namespace, key), moment)

    async def list_history(
        self, principal: Principal, namespace: str, key: str, request: HistoryRequest = ALL_OF_IT
    ) -> Page[HistoryEntry]:
        """Return what happened to the object, newest first; also of one that was deleted.

        Who may read it only because they own it sees it from the version on that created it for them, or handed it over to
        them. Raises StateNotFoundError for a key that was never written, or whose object the principal may not read;
        InvalidInputError for a filter, size or token that says nothing here, with its place; StateEphemeralError where there is
        no history.
        """
        return await self._history.list(principal, *self._at(principal, namespace, key), request)

    async def health(self) -> Health:
        """Say how the store is, and how many namespaces are declared."""
        store = await self._store.health()
        return Health(store.status, store.details, {"namespaces": len(self.namespaces)}, {"store": store})

    def _check_together(self, requests: Sequence[ChangeRequest]) -> None:
        """Raise StateEphemeralError, or StateApartError, for a last request that is not kept where the first is."""
        first, last = requests[0].key.namespace, requests[-1].key.namespace
        part, other = self._store.part(first), self._store.part(last)
        if other is not part:
            if part.has_events and other.has_events:
                raise StateApartError(first, last, index=len(requests) - 1)
            is_first = not part.has_events
            raise StateEphemeralError(first if is_first else last, f"transactions with {last if is_first else first}")

    async def _shown(self, principal: Principal, namespace: Namespace, state: StateRecord) -> StateRecord:
        """Return the object as the principal sees it, who may read it."""
        state = (await namespace.fields.sight(self._access, principal, state.key.key)).shows(state)
        if state.owner == principal.subject:
            return state
        return (await self._people(principal, namespace, state.key.key)).shows(state)

    async def _people(self, principal: Principal, namespace: Namespace, key: str = "") -> People:
        return await People.seen(self._access, namespace.shows_people, principal, namespace.name, key)

    async def _may_change(self, principal: Principal) -> bool:
        """Return whether there is a namespace in which the principal could change something that is nobody's."""
        rules = {rule for namespace in self.namespaces.values() for rule in namespace.rules_of_changes()}
        for rule in rules:
            if await self._access.allows(rule, principal):
                return True
        return False

    def _request(  # noqa: PLR0917  on the path of every change
        self,
        principal: Principal,
        namespace: str,
        key: str,
        operation: Operation,
        expected: int | None,
        cause: Cause,
        claim: Claim | None,
    ) -> ChangeRequest:
        bound = self._namespace(principal, namespace)
        if isinstance(operation, Transition) and operation.event not in bound.machine.transitions:
            bound.machine.transition(operation.event)  # which says what there is
        check_key(key)
        request = ChangeRequest(principal, cause, bound, StateKey(principal.tenant, namespace, key), operation, expected, claim)
        if expected is not None:
            request.check()
        return request

    def _namespace(self, principal: Principal, name: str) -> Namespace:
        """Return the namespace, where the principal may ask for anything there."""
        bound = self.namespaces.get(name)
        if bound is None:
            raise StateNamespaceUnknownError(name)
        bound.check_user(principal)
        return bound

    def _at(self, principal: Principal, namespace: str, key: str) -> tuple[Namespace, StateKey]:
        bound = self._namespace(principal, namespace)
        check_key(key)
        return bound, StateKey(principal.tenant, namespace, key)
