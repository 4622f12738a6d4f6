"""The write path: access, rules, schema, before-hook, then compare-and-set with the event, batched with its neighbours."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice

from msgspec.structs import replace as changed
from stylobate.batching import Batcher
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.declarations.evaluate import AccessEvaluator, refusal
from stylobate.declarations.model import BeforeHook
from stylobate.errors import StylobateError, UnavailableError
from stylobate.idempotency import KeyTakenError
from stylobate.identity.resources import state_object
from stylobate.logs import get_logger

from stylobate_state.change_event import event_of
from stylobate_state.change_request import ChangeRequest, Decided, owner_after, write_at_once, write_of
from stylobate_state.document import NULL
from stylobate_state.errors import (
    StateContendedError,
    StateDataInvalidError,
    StateEphemeralError,
    StateHookFailedError,
    StateNotUniqueError,
    for_each,
    too_long,
)
from stylobate_state.fields import NOTHING_CLOSED, Closed, open_indexes
from stylobate_state.guards import Asking
from stylobate_state.history_reader import HistoryReader
from stylobate_state.hooks import BeforeHooks
from stylobate_state.key_locks import Held, KeyLocks
from stylobate_state.lanes import Lanes
from stylobate_state.model import Change, NotUnique, Refused, StateKey, StateRecord, Taken, TooLong, Write, WriteOutcome, Written
from stylobate_state.namespace import Namespace
from stylobate_state.operation import Assign, ChangeDraft, Operation, Put, Restore
from stylobate_state.recent import RecentStates
from stylobate_state.sealing import Sealing
from stylobate_state.state_cache import StateCache
from stylobate_state.state_reader import StateReader
from stylobate_state.store.port import StateStore
from stylobate_state.upgrades import NO_UPGRADES, Upgrades

_log = get_logger("app")
MAX_TRIES = 8
"""How often a change without an expected version is tried while others are faster."""
_FIRST_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Environment:
    """What the write path works with."""

    store: StateStore
    access: AccessEvaluator
    hooks: BeforeHooks
    committed: Callable[[str], None]
    """Called once after each batch in which something was written that has events, with a namespace of it; must not block."""
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep
    """Waits between tries, in seconds."""
    upgrades: Upgrades = NO_UPGRADES
    cache: StateCache | None = None
    """Of who reads what need not be the newest; None: nothing is kept."""

    @property
    def sealing(self) -> Sealing:
        """What opens and seals the fields that are stored encrypted."""
        return self.upgrades.sealing


Group = Sequence[Write]
"""What happens together: one write, or all of a transaction."""


class StateWriter:
    """Carries out operations. Two batches of writes for each store are in flight at most; a key stands in one at a time."""

    def __init__(self, environment: Environment, reader: StateReader, writes: Lanes[Group, list[WriteOutcome]]) -> None:
        self._environment = environment
        self._access = environment.access
        self._reader = reader
        self._writes = writes
        self._locks = KeyLocks()
        self._recent = RecentStates()
        self._history = HistoryReader(environment.store, environment.access, reader, environment.clock, environment.sealing)

    @classmethod
    @asynccontextmanager
    async def open(cls, environment: Environment, reader: StateReader, namespaces: Iterable[str]) -> AsyncIterator["StateWriter"]:
        """Make it usable, for these namespaces; on leaving, the writes that were begun are finished."""
        committed = environment.committed

        def writes(part: StateStore) -> Batcher[Group, list[WriteOutcome]]:
            async def flush(groups: list[Group]) -> Sequence[list[WriteOutcome] | Exception]:
                try:
                    outcomes = await part.write(list(chain.from_iterable(groups)))
                except UnavailableError as error:
                    return for_each(error, len(groups))  # not one by one: it may have been written
                if part.has_events and any(isinstance(outcome, Written) for outcome in outcomes):
                    committed(groups[0][0].key.namespace)
                if len(outcomes) == len(groups):
                    return [[outcome] for outcome in outcomes]
                found = iter(outcomes)
                return [list(islice(found, len(group))) for group in groups]

            return Batcher(flush, max_size=part.most_at_once, in_flight=2, keys=_keys, divides=True)

        async with Lanes(environment.store, namespaces, writes) as lanes:
            yield cls(environment, reader, lanes)

    async def change(self, request: ChangeRequest) -> StateRecord:
        """Do the operation and return the object as it stands then (a tombstone for a deletion).

        First on how the object may stand. Where that is not known, or not so, or refused because of it, it is read. One coroutine
        for what most changes are.
        """
        key, recent = request.key, self._recent
        if (takes_turns := request.takes_turns) and not self._locks.take_free(key):
            await self._locks.take(key)
        try:
            guess = recent.guess(key) if request.may_guess else None
            if guess is not None:
                try:
                    write = self._at_once(request, guess)
                    if write is None:
                        write = await self.consult(request, await self.decide(request, guess))
                    (outcome,) = await self._writes.of(key.namespace).submit((write,))
                except UnavailableError:
                    raise
                except StylobateError:
                    pass  # perhaps it is refused for what is not so any more
                else:
                    if isinstance(outcome, Written):
                        recent.was_right()
                        return self._kept(write, outcome)
                    if isinstance(outcome, Refused):
                        recent.was_wrong(guess)
            return await self._from_what_stands(request)
        finally:
            if takes_turns:
                self._locks.release(key)

    async def _from_what_stands(self, request: ChangeRequest) -> StateRecord:
        """Read and do it, again while others are faster."""
        for attempt in range(MAX_TRIES if request.expected is None else 1):
            if attempt:
                await self.pause_before(attempt)
            changed = await self._try(request, await self._reader.one(request.key))
            if changed is not None:
                return changed
        if request.expected is not None:
            raise await self.conflict(request)
        raise StateContendedError(request.key.namespace, request.key.key)

    def keep(self, states: Iterable[StateRecord]) -> None:
        """Take objects as they were just written: the next change of one may begin with it."""
        for state in states:
            self._recent.keep(state)

    async def pause_before(self, attempt: int) -> None:
        """Wait before another try, longer each time."""
        pause_s = _FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1)  # noqa: S311  spreads tries, hides nothing
        await self._environment.pause(pause_s)

    def turns(self, requests: Sequence[ChangeRequest]) -> Held:
        """Return what holds the keys of what would spoil, or be spoiled by, its neighbours in this process; in one order."""
        return self._locks.hold(sorted(request.key for request in requests if request.takes_turns))

    async def _try(self, request: ChangeRequest, seen: StateRecord | None) -> StateRecord | None:
        """Decide on what was read, compare and set. Returns None when another was faster."""
        write = self._at_once(request, seen) if seen is not None else None
        if write is None:
            write = await self.consult(request, await self.decide(request, seen))
        (outcome,) = await self._writes.of(request.key.namespace).submit((write,), together=True)  # out of a batch of reads
        if isinstance(outcome, Written):
            return self._kept(write, outcome)
        if isinstance(outcome, (NotUnique, TooLong)):
            raise await self.beyond_index(request, outcome)
        if isinstance(outcome, Taken):
            raise KeyTakenError
        return None

    def _kept(self, write: Write, outcome: Written) -> StateRecord:
        state = write.as_written(outcome)
        self._recent.keep(state)
        return state

    def _at_once(self, request: ChangeRequest, seen: StateRecord) -> Write | None:
        """Return what is to be written, where that takes asking nobody; None: :meth:`decide` and :meth:`consult` say."""
        environment = self._environment
        asking = Asking(request.principal, environment.clock)
        return write_at_once(request, seen, self._access, asking, environment.new_id)

    async def submit(self, group: Group) -> list[WriteOutcome]:
        """Write a transaction, with what else is written at the time; all of it by one store. Raises KeyTakenError."""
        outcomes = await self._writes.of(group[0].key.namespace).submit(group)
        if isinstance(outcomes[0], Taken):
            raise KeyTakenError
        return outcomes

    async def decide(self, request: ChangeRequest, seen: StateRecord | None) -> Decided:
        """Return what the operation makes of what was read, when the caller may do it and the rules allow it."""
        namespace, key, operation, expected = request.namespace, request.key, request.operation, request.expected
        live = seen if seen is not None and not seen.is_deleted else None
        subject = seen if operation.revives else live
        await self._authorize(request, subject)
        if isinstance(operation, Assign) and not self._environment.store.part(key.namespace).has_events:
            raise StateEphemeralError(key.namespace, "hand-overs")
        present = live.version if live is not None else 0
        if expected is not None and expected != present:
            raise StateVersionConflictError(key.namespace, key.key, expected=expected, actual=present)
        if isinstance(operation, Restore) and subject is not None:
            older = await self._history.entry(request.principal, namespace, subject, operation.version)
            then = replace(subject, data=older.data, schema_version=older.schema_version)
            operation = changed(operation, data=(await self._environment.upgrades.present(namespace, then)).data)
        closed = await self._closed(request, subject) if namespace.fields.is_any else NOTHING_CLOSED
        is_closed = closed != NOTHING_CLOSED
        if is_closed and isinstance(operation, Put):
            operation = changed(operation, keeps_fields=True)
        data = opened = seen.data if seen is not None else NULL
        if namespace.encrypted and live is not None:
            live = await self._opened(namespace, live, operation, is_closed=is_closed)
            subject, opened = live, live.data
        is_older = live is not None and live.schema_version != namespace.schema_version
        if live is not None and is_older and not isinstance(operation, Restore) and operation.builds_on_present:
            subject = live = await self._environment.upgrades.present(namespace, live)
        if is_closed:
            operation = operation.within(namespace, closed, live.data if live is not None else NULL)
        draft = operation.draft(namespace, subject, Asking(request.principal, self._environment.clock))
        if draft.change is not Change.DELETED and (live is None or draft.data is not live.data):
            try:
                namespace.check(draft.data)
            except StateDataInvalidError as error:
                raise closed.cover(error) from None
        return Decided(draft, live, operation.builds_on_present, data, opened)

    async def _opened(self, namespace: Namespace, live: StateRecord, operation: Operation, *, is_closed: bool) -> StateRecord:
        """Return the object with its encrypted fields opened. Raises StateFieldUnreadableError where the operation needs them."""
        sealing = self._environment.sealing
        return await (sealing.whole if operation.builds_on_present or is_closed else sealing.one)(namespace, live)

    async def _closed(self, request: ChangeRequest, subject: StateRecord | None) -> Closed:
        """Return which fields are closed to the caller: of the object that is there, or of the one that it makes its own."""
        fields = await request.namespace.fields.sight(self._access, request.principal, request.key.key)
        return fields.of(subject.owner if subject is not None else request.principal.subject)

    async def consult(self, request: ChangeRequest, decided: Decided) -> Write:
        """Ask the before-hook, if there is one, and return what is to be written."""
        live = decided.live
        hook_agreed, draft = False, decided.draft
        if (hook := request.namespace.hook(draft.change, draft.event)) is not None:
            hook_agreed, draft = True, await self._consult(request, hook, draft, live)
        data = decided.data if live is not None and draft.data is decided.opened else draft.data
        owner = owner_after(request, draft, live)
        changes_hands = request.namespace.per_owner and live is not None and live.owner != owner
        if (data is not decided.data or changes_hands) and draft.change is not Change.DELETED:
            sealed, before = self._environment.sealing.sealed, decided.opened
            data = await sealed(request.namespace, request.key, draft.data, owner=owner, opened=before, stored=decided.data)
        is_exact = request.expected is not None or decided.builds_on_present or hook_agreed or live is None
        keeps_data = data is decided.data
        return write_of(request, live, draft, data, self._environment.new_id(), is_exact=is_exact, keeps_data=keeps_data)

    async def _authorize(self, request: ChangeRequest, live: StateRecord | None) -> None:
        """Decide access before anything else is said: to the object, then to what would be written.

        Of an object that the principal may not read, the same is said as of one that is not there.
        """
        principal, namespace, key, operation = request.principal, request.namespace, request.key, request.operation
        owner, resource = live.owner if live is not None else None, state_object(key.namespace, key.key)
        rules = operation.rules(namespace, live)
        if live is None or live.is_deleted:
            namespace.check_new_key(key.key)
        refused = [rule for rule in rules if not await self._access.allows(rule, principal, owner, resource)]
        if (live is not None or operation.creates) and not refused:
            beyond = operation.beyond(namespace, live)
            if beyond and not await self._access.allows(namespace.access.write, principal, owner, resource):
                raise StateDataInvalidError(beyond)
            if operation.assigns not in {None, principal.subject} and namespace.access.assign not in rules:
                await self._access.require(
                    namespace.access.assign, principal, f"choose the owner of {key.namespace}/{key.key}", owner, resource
                )
            return
        if live is not None and await self._access.allows(namespace.access.read, principal, owner, resource):
            raise refusal(refused[0], principal, f"{operation.word} {key.namespace}/{key.key}", resource)
        namespace.check_new_key(key.key)
        absent = operation.rule(namespace, None)
        await self._access.require_possible(absent, principal, f"{operation.word} {key.namespace}/{key.key}", resource)
        raise StateNotFoundError(key.namespace, key.key)

    async def _consult(
        self, request: ChangeRequest, hook: BeforeHook, draft: ChangeDraft, live: StateRecord | None
    ) -> ChangeDraft:
        """Ask the before-hook; it may refuse by raising, or give other data (not for a deletion)."""
        event = event_of(
            request.key,
            draft,
            version=live.version if live is not None else 0,  # not the next one, which is not sure yet
            status=draft.status,
            data=draft.data,
            owner=owner_after(request, draft, live),
            before=live,
            beside=request.namespace.beside(request.cause, request.principal),
            actor=request.principal.subject,
            event_id=self._environment.new_id(),
            time=self._environment.clock(),
        )
        data = await self._environment.hooks.ask(hook, event, request.cause.hook_depth)
        if data and draft.change is not Change.DELETED:
            try:
                request.namespace.check(data)
            except StateDataInvalidError as error:
                findings = [f"{violation.pointer}: {violation.detail}" for violation in error.violations]
                _log.error("before_hook_failed", module=hook.module, hook=hook.method, findings=findings)
                raise StateHookFailedError(hook.module, hook.method) from error
            draft = replace(draft, data=data)
        return draft

    async def beyond_index(self, request: ChangeRequest, outcome: NotUnique | TooLong) -> StylobateError:
        """Return the error for what an index refuses; who has a value is said to those only who may read that object."""
        if isinstance(outcome, TooLong):
            return too_long(outcome.index)
        holder = await self._reader.one(outcome.holder)
        is_known = holder is not None and not holder.is_deleted
        if holder is not None and is_known:
            there = state_object(holder.key.namespace, holder.key.key)
            is_known = await self._access.allows(request.namespace.access.read, request.principal, holder.owner, there)
            fields = await request.namespace.fields.sight(self._access, request.principal, holder.key.key)
            is_known = is_known and bool(open_indexes((outcome.index,), fields.of(holder.owner)))  # else it tells the value
        return StateNotUniqueError(outcome.index, outcome.holder.key if is_known else "")

    async def conflict(self, request: ChangeRequest) -> StateVersionConflictError:
        """Return the error for a write that lost between its read and its compare-and-set."""
        key = request.key
        seen = await self._reader.one(key)
        actual = seen.version if seen is not None and not seen.is_deleted else 0
        return StateVersionConflictError(key.namespace, key.key, expected=request.expected, actual=actual)


def _keys(group: Group) -> list[StateKey]:
    return [group[0].key] if len(group) == 1 else [write.key for write in group]
