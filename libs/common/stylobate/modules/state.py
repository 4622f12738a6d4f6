"""State objects as handlers see them: plain values in, plain values out."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, overload

import grpc.aio

from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import InvalidInputError, StylobateError
from stylobate.modules.operations import Operation, messages
from stylobate.modules.payload import decode, encode
from stylobate.modules.state_filters import state_filters
from stylobate.modules.steps import Steps
from stylobate.modules.transaction import Transaction
from stylobate.modules.watching import WatchEvent, watch_events

T = TypeVar("T")
Consistency = Literal["strong", "cached"]
_PAGE = 200
_NOT_THERE = frozenset({"STATE_NOT_FOUND", "STATE_VERSION_NOT_FOUND", "STATE_VERSION_DELETED"})


@dataclass(frozen=True, slots=True)
class StateTimer:
    """An event that the platform fires by itself."""

    event: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StateObject:
    """A state object at one version."""

    namespace: str
    key: str
    version: int
    status: str
    """Where it stands in the namespace's machine; empty when there is none."""
    data: Any
    created_at: datetime
    updated_at: datetime
    owner: str
    """The subject in whose name it was created, or to whom it was handed over; empty for an anonymous one."""
    timers: tuple[StateTimer, ...] = ()
    """What is fired if it stays in its status."""
    is_deleted: bool = False
    """Whether a transaction deleted it: the only place where such an object is seen."""
    schema_version: int | None = None
    """Where the data is not of the schema version that the namespace declares: the version that it has. Its upgrade failed, or
    newer declarations wrote it."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """What happened to an object at one version."""

    version: int
    change: str
    """``created``, ``updated``, ``transitioned``, ``assigned``, ``deleted`` or ``migrated``: brought to a new schema version."""
    event: str
    """The machine's event, for a transition."""
    from_status: str
    to_status: str
    data: Any
    """The data after; None for a deletion."""
    actor: str
    time: datetime
    event_id: str
    restored_from: int = 0
    """The version whose data it brought back; 0: none."""
    schema_version: int = 1
    """That which the data was written under."""
    is_forgotten: bool = False
    """Whether its data is not kept any more; ``data`` is None then."""
    owner: str = ""
    """Whose it is since, of a creation or a hand-over."""
    previous_owner: str = ""
    """Whose it was before a hand-over."""


class StateClient:
    """The state service, asked in the name of whoever the handler runs for; access rules hold as for any caller.

    Errors are ``StylobateError``; compare their ``reason``, or let them through. What a module names wrongly, or the data that
    it makes up, is its own defect and reaches callers as ``ACTION_FAILED``; what came with the caller's input stays the caller's.
    Everywhere: ``STATE_NAMESPACE_UNKNOWN``, ``STATE_KEY_INVALID``, ``PERMISSION_DENIED``, ``UNAVAILABLE`` and
    ``DEADLINE_EXCEEDED`` (a change may have happened then).
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = StateServiceStub(channel)
        self._steps: Steps | None = None

    def in_run(self, steps: Steps) -> "StateClient":
        """Return the client whose changes are the next steps of a run."""
        client = copy(self)
        client._steps = steps  # noqa: SLF001  its own
        return client

    async def get(
        self,
        namespace: str,
        key: str,
        *,
        version: int | None = None,
        as_of: datetime | None = None,
        consistency: Consistency = "strong",
    ) -> StateObject | None:
        """Return the object as it is now, or None when there is none that the caller may see.

        :param consistency: ``cached``: as it was a moment ago, from a copy; also while the database does not answer.
        :param version: as it was at this version; :param as_of: as it was then, a time with a time zone. None where nothing was
            there or it was deleted then. An older version has no timers and does not tell its owner.
        """
        if version is not None or as_of is not None:
            return await self._version(namespace, key, version, as_of)
        found = await self.get_many(namespace, [key], consistency=consistency)
        return found.get(key)

    async def get_many(
        self, namespace: str, keys: Sequence[str], *, consistency: Consistency = "strong"
    ) -> dict[str, StateObject]:
        """Return those of at most 500 objects that exist and that the caller may see, by key.

        :param consistency: as in :meth:`get`.
        """
        request = pb.GetStateRequest(keys=[pb.StateKey(namespace=namespace, key=key) for key in keys])
        if consistency == "cached":
            request.consistency = pb.CONSISTENCY_CACHED
        reply = await asked(self._stub.GetState(request), namespace=namespace, key=list(keys))
        return {state.key: _object(state) for state in reply.states}

    async def _version(self, namespace: str, key: str, version: int | None, as_of: datetime | None) -> StateObject | None:
        when = "" if as_of is None else as_of.isoformat()
        request = pb.GetStateVersionRequest(namespace=namespace, key=key, version=version or 0, as_of=when)
        try:
            reply = await asked(self._stub.GetStateVersion(request), namespace=namespace, key=key, version=version, as_of=when)
        except StylobateError as error:
            if error.reason in _NOT_THERE:
                return None
            raise
        return _object(reply.state)

    async def put(
        self, namespace: str, key: str, data: Any, expected_version: int | None = None, *, owner: str | None = None
    ) -> StateObject:
        """Create the object or replace its data.

        :param data: whatever has a JSON form, such as a dataclass.
        :param expected_version: the version it must have; 0: it must not exist yet; None: any.
        :param owner: whose a new object is to be, where the namespace's ``assign`` lets the handler say so; None: that of whoever
            the handler runs for. Of an object that exists it must be the owner.
        :raises StylobateError: STATE_DATA_INVALID, STATE_VERSION_CONFLICT, STATE_CONTENDED, STATE_OWNER_NOT_WRITABLE, or what a
            before-hook refuses with.
        """
        request = pb.PutStateRequest(
            namespace=namespace, key=key, data=encode(data), expected_version=expected_version, owner=owner
        )
        reply = await self._change(self._stub.PutState, request, namespace=namespace, key=key, data=data, owner=owner)
        return _object(reply.state)

    async def patch(self, namespace: str, key: str, data: Any, expected_version: int | None = None) -> StateObject:
        """Merge into the data (RFC 7396: None removes a member).

        :raises StylobateError: STATE_NOT_FOUND, STATE_DATA_INVALID, STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a
            before-hook refuses with.
        """
        request = pb.PatchStateRequest(namespace=namespace, key=key, patch=encode(data), expected_version=expected_version)
        reply = await self._change(self._stub.PatchState, request, namespace=namespace, key=key, data=data)
        return _object(reply.state)

    async def delete(self, namespace: str, key: str, expected_version: int | None = None) -> int:
        """Remove the object; its history stays. Returns the version of the deletion.

        :raises StylobateError: STATE_NOT_FOUND, STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a before-hook refuses with.
        """
        request = pb.DeleteStateRequest(namespace=namespace, key=key, expected_version=expected_version)
        reply = await self._change(self._stub.DeleteState, request, namespace=namespace, key=key)
        return int(reply.version)

    async def transition(
        self, namespace: str, key: str, event: str, data: Any = None, expected_version: int | None = None
    ) -> StateObject:
        """Fire an event of the namespace's machine, merging ``data`` (RFC 7396) into the object's data.

        :param data: only what the transition declares under ``data`` may be carried.
        :raises StylobateError: STATE_NOT_FOUND, STATE_EVENT_UNKNOWN, STATE_TRANSITION_NOT_ALLOWED, STATE_GUARD_REFUSED,
            STATE_GUARD_FAILED, STATE_DATA_INVALID, STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a before-hook refuses with.
        """
        patch = b"" if data is None else encode(data)
        request = pb.TransitionStateRequest(
            namespace=namespace, key=key, event=event, patch=patch, expected_version=expected_version
        )
        reply = await self._change(self._stub.TransitionState, request, namespace=namespace, key=key, event=event, data=data)
        return _object(reply.state)

    async def restore(self, namespace: str, key: str, version: int, expected_version: int | None = None) -> StateObject:
        """Make the data of an older version that of a new one; of an object that was deleted, undo that.

        :param expected_version: the version it must have; 0: it must be deleted; None: any.
        :raises StylobateError: STATE_NOT_FOUND, STATE_VERSION_NOT_FOUND, STATE_VERSION_DELETED, STATE_DATA_INVALID,
            STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a before-hook refuses with.
        """
        request = pb.RestoreStateRequest(namespace=namespace, key=key, version=version, expected_version=expected_version)
        reply = await self._change(self._stub.RestoreState, request, namespace=namespace, key=key, version=version)
        return _object(reply.state)

    async def assign(self, namespace: str, key: str, owner: str, expected_version: int | None = None) -> StateObject:
        """Hand the object over: every rule ``owner`` means the new one from now on. The namespace's ``assign`` says who may.

        :param owner: the id of a user; whether there is one is not looked at.
        :raises StylobateError: STATE_NOT_FOUND, STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a before-hook refuses with.
        """
        request = pb.AssignStateRequest(namespace=namespace, key=key, owner=owner, expected_version=expected_version)
        reply = await self._change(self._stub.AssignState, request, namespace=namespace, key=key, owner=owner)
        return _object(reply.state)

    @overload
    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    @overload
    def transaction(self, operations: Sequence[Operation]) -> Coroutine[Any, Any, list[StateObject]]: ...

    def transaction(
        self, operations: Sequence[Operation] | None = None
    ) -> AbstractAsyncContextManager[Transaction] | Coroutine[Any, Any, list[StateObject]]:
        """Change several objects: all changes happen, or none.

        ``async with ctx.state.transaction() as change`` collects them and sends them at the end of the block. A list is sent at
        once, and gives the objects as they stand then, in the order of the changes::

            cancelled, placed = await ctx.state.transaction([
                {"op": "transition", "namespace": "orders", "key": order_id, "event": "cancel"},
                {"op": "put", "namespace": "orders", "key": ctx.new_id(), "data": data, "if_version": 0},
            ])

        At most 50, of different objects. A change without an expected version holds for what stands there when it is sent:
        name the version where a change follows from what was read. Where there is nothing to change nothing is sent.

        :param operations: what ``POST /v1/state/transactions`` takes.
        :raises StylobateError: what the first change that is refused is refused with, its number (from 0) as ``index`` in the
            metadata; nothing was written. INVALID_INPUT where one is not an operation, with its place: ``/operations/1/op``.
        """
        return self._collected() if operations is None else self._transact(messages(operations), operations)

    @asynccontextmanager
    async def _collected(self) -> AsyncIterator[Transaction]:
        transaction = Transaction()
        yield transaction
        transaction.results += await self._transact(transaction.operations, transaction.sent)

    async def _transact(self, operations: Sequence[pb.StateOperation], sent: Sequence[Mapping[str, Any]]) -> list[StateObject]:
        if not operations:
            return []
        request = pb.TransactStatesRequest(operations=operations)
        try:
            reply = await self._change(self._stub.TransactStates, request, data={"operations": sent})
        except StylobateError as error:
            if "index" in error.metadata:
                one = sent[int(error.metadata["index"])]
                error.sent = {"data": one} if error.reason == InvalidInputError.reason else one
            raise
        return [_object(one.state, is_deleted=one.is_deleted) for one in reply.results]

    def _change(self, method: Callable[[Any], Awaitable[T]], request: Any, **sent: Any) -> Awaitable[T]:
        return asked(method(request) if self._steps is None else self._steps.change(method, request), **sent)

    async def list(
        self,
        namespace: str,
        *,
        status: str = "",
        filter: Mapping[str, Any] | None = None,  # noqa: A002  as in the URL
        sort: str = "",
        consistency: Consistency = "strong",
    ) -> AsyncIterator[StateObject]:
        """Yield the objects that the caller may list, page by page as they are asked for.

        They come in the order of their keys; with a filter or a sort in that of the index that answers it::

            async for order in ctx.state.list("orders", filter={"status": "paid", "total": {"gte": 100}}, sort="-total"):

        :param status: only those that stand there, by key; empty: all.
        :param filter: conditions by field, all of which must hold: a value, or values by operator (``eq``, ``in``, ``lt``,
            ``lte``, ``gt``, ``gte``, ``prefix``, ``exists``).
        :param sort: a field, `-` before it for the highest first. Where no index has what the filter finds in this order, it may
            find 1000 objects at most.
        :param consistency: ``cached``: from a replica of the database, where there is one; its objects may be a moment old.
        :raises StylobateError: STATE_QUERY_NOT_INDEXED, STATE_SORT_TOO_BROAD, STATE_INDEX_NOT_READY.
        """
        request = pb.ListStatesRequest(
            namespace=namespace,
            status=status,
            filters=state_filters(filter or {}),
            sort=sort,
            page_size=_PAGE,
            consistency=pb.CONSISTENCY_CACHED if consistency == "cached" else pb.CONSISTENCY_STRONG,
        )
        while True:
            reply = await asked(self._stub.ListStates(request), namespace=namespace, status=status, filter=filter, sort=sort)
            for state in reply.states:
                yield _object(state)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return

    async def count(self, namespace: str, *, filter: Mapping[str, Any] | None = None, up_to: int = 1000) -> int:  # noqa: A002  likewise
        """Return how many objects the caller may list, with a filter as :meth:`list` has it.

        :param up_to: where the count ends, at most 10,000: when this number comes back there may be more.
        """
        request = pb.ListStatesRequest(namespace=namespace, filters=state_filters(filter or {}), page_size=1, count_up_to=up_to)
        reply = await asked(self._stub.ListStates(request), namespace=namespace, filter=filter)
        return int(reply.count)

    async def history(
        self,
        namespace: str,
        key: str,
        *,
        after_version: int = 0,
        before_version: int = 0,
        since: datetime | None = None,
        until: datetime | None = None,
        actor: str = "",
        change: str = "",
    ) -> AsyncIterator[StateChange]:
        """Yield what happened to the object, newest first, page by page as it is asked for. All that is asked must hold.

        :param after_version: only versions above it. :param before_version: only versions below it; 0: up to the newest.
        :param since: only what happened then or later. :param until: only what happened before. Both with a time zone.
        :param actor: only what this principal did. :param change: only changes of this name.
        """
        request = pb.ListHistoryRequest(
            namespace=namespace,
            key=key,
            page_size=_PAGE,
            after_version=after_version,
            before_version=before_version,
            since="" if since is None else since.isoformat(),
            until="" if until is None else until.isoformat(),
            actor=actor,
            change=change,
        )
        while True:
            reply = await asked(self._stub.ListHistory(request), namespace=namespace, key=key)
            for entry in reply.entries:
                yield _change(entry)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return

    async def watch(
        self,
        namespace: str,
        key: str = "",
        *,
        status: str = "",
        filter: Mapping[str, Any] | None = None,  # noqa: A002  likewise
        position: str = "",
    ) -> AsyncGenerator[WatchEvent]:
        """Yield how an object stands, or those of a namespace that the caller may list and read, then every change as it happens.

        It has no end of its own: leave the loop, or let the handler's time run out. Leave it with ``contextlib.aclosing``, so
        that the watch ends there and then.

        :param key: which need not exist yet; empty: the whole namespace.
        :param status: only objects while they stand there; empty: all.
        :param filter: only objects while these conditions hold, as :meth:`list` has them; not with a key or a status.
        :param position: ``position`` of the last event of a watch of the same: it goes on behind it, without a snapshot.
        :raises StylobateError: POSITION_INVALID, STATE_TOO_MANY_WATCHES, STATE_WATCHES_FULL, as a list with filters
            STATE_QUERY_NOT_INDEXED, STATE_INDEX_NOT_READY; UNAVAILABLE when the service stops: who comes back with the last
            position misses nothing.
        """
        request = pb.WatchStatesRequest(
            namespace=namespace, key=key, status=status, filters=state_filters(filter or {}), position=position
        )
        async with aclosing(watch_events(self._stub.WatchStates(request), _object, _change)) as telling:
            try:
                async for told in telling:
                    yield told
            except StylobateError as error:
                error.sent = error.sent or {"namespace": namespace, "key": key, "status": status, "filter": filter}
                raise


async def asked(answer: Awaitable[T], **sent: Any) -> T:
    """Return the platform's answer to module code; a refusal remembers what it refused, so that it is seen whose fault it is."""
    try:
        return await answer
    except StylobateError as error:
        error.sent = error.sent or sent
        raise


def _object(state: pb.State, *, is_deleted: bool = False) -> StateObject:
    return StateObject(
        namespace=state.namespace,
        key=state.key,
        version=state.version,
        status=state.status,
        data=decode(state.data),
        created_at=state.created_at.ToDatetime(tzinfo=UTC),
        updated_at=state.updated_at.ToDatetime(tzinfo=UTC),
        owner=state.owner,
        timers=tuple(StateTimer(timer.event, timer.at.ToDatetime(tzinfo=UTC)) for timer in state.timers),
        is_deleted=is_deleted,
        schema_version=state.schema_version or None,
    )


def _change(entry: pb.HistoryEntry) -> StateChange:
    return StateChange(
        version=entry.version,
        change=entry.change,
        event=entry.event,
        from_status=entry.from_status,
        to_status=entry.to_status,
        data=decode(entry.data) if entry.data else None,
        actor=entry.actor,
        time=entry.time.ToDatetime(tzinfo=UTC),
        event_id=entry.event_id,
        restored_from=entry.restored_from,
        schema_version=max(entry.schema_version, 1),
        is_forgotten=entry.is_forgotten,
        owner=entry.owner,
        previous_owner=entry.previous_owner,
    )
