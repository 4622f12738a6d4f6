"""State objects as handlers see them: plain values in, plain values out."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc.aio

from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import StylobateError
from stylobate.modules.payload import decode, encode

T = TypeVar("T")
_PAGE = 200


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
    """The subject in whose name it was created."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """What happened to an object at one version."""

    version: int
    change: str
    """``created``, ``updated``, ``transitioned`` or ``deleted``."""
    event: str
    """The machine's event, for a transition."""
    from_status: str
    to_status: str
    data: Any
    """The data after; None for a deletion."""
    actor: str
    time: datetime
    event_id: str


class StateClient:
    """The state service, asked in the name of whoever the handler runs for; access rules hold as for any caller.

    Errors are ``StylobateError``; compare their ``reason``, or let them through. What a module names wrongly, or the data that
    it makes up, is its own defect and reaches callers as ``ACTION_FAILED``; what came with the caller's input stays the caller's.
    Everywhere: ``STATE_NAMESPACE_UNKNOWN``, ``STATE_KEY_INVALID``, ``PERMISSION_DENIED``, ``UNAVAILABLE`` and
    ``DEADLINE_EXCEEDED`` (a change may have happened then).
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = StateServiceStub(channel)

    async def get(self, namespace: str, key: str) -> StateObject | None:
        """Return the object as it is now, or None when there is none that the caller may see."""
        found = await self.get_many(namespace, [key])
        return found.get(key)

    async def get_many(self, namespace: str, keys: Sequence[str]) -> dict[str, StateObject]:
        """Return those of at most 500 objects that exist and that the caller may see, by key."""
        wanted = [pb.StateKey(namespace=namespace, key=key) for key in keys]
        reply = await asked(self._stub.GetState(pb.GetStateRequest(keys=wanted)), namespace=namespace, key=list(keys))
        return {state.key: _object(state) for state in reply.states}

    async def put(self, namespace: str, key: str, data: Any, expected_version: int | None = None) -> StateObject:
        """Create the object or replace its data.

        :param data: whatever has a JSON form, such as a dataclass.
        :param expected_version: the version it must have; 0: it must not exist yet; None: any.
        :raises StylobateError: STATE_DATA_INVALID, STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a before-hook refuses with.
        """
        request = pb.PutStateRequest(namespace=namespace, key=key, data=encode(data), expected_version=expected_version)
        reply = await asked(self._stub.PutState(request), namespace=namespace, key=key, data=data)
        return _object(reply.state)

    async def patch(self, namespace: str, key: str, data: Any, expected_version: int | None = None) -> StateObject:
        """Merge into the data (RFC 7396: None removes a member).

        :raises StylobateError: STATE_NOT_FOUND, STATE_DATA_INVALID, STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a
            before-hook refuses with.
        """
        request = pb.PatchStateRequest(namespace=namespace, key=key, patch=encode(data), expected_version=expected_version)
        reply = await asked(self._stub.PatchState(request), namespace=namespace, key=key, data=data)
        return _object(reply.state)

    async def delete(self, namespace: str, key: str, expected_version: int | None = None) -> int:
        """Remove the object; its history stays. Returns the version of the deletion.

        :raises StylobateError: STATE_NOT_FOUND, STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a before-hook refuses with.
        """
        request = pb.DeleteStateRequest(namespace=namespace, key=key, expected_version=expected_version)
        reply = await asked(self._stub.DeleteState(request), namespace=namespace, key=key)
        return int(reply.version)

    async def transition(
        self, namespace: str, key: str, event: str, data: Any = None, expected_version: int | None = None
    ) -> StateObject:
        """Fire an event of the namespace's machine, merging ``data`` (RFC 7396) into the object's data.

        :param data: only what the transition declares under ``data`` may be carried.
        :raises StylobateError: STATE_NOT_FOUND, STATE_EVENT_UNKNOWN, STATE_TRANSITION_NOT_ALLOWED, STATE_DATA_INVALID,
            STATE_VERSION_CONFLICT, STATE_CONTENDED, or what a before-hook refuses with.
        """
        patch = b"" if data is None else encode(data)
        request = pb.TransitionStateRequest(
            namespace=namespace, key=key, event=event, patch=patch, expected_version=expected_version
        )
        reply = await asked(self._stub.TransitionState(request), namespace=namespace, key=key, event=event, data=data)
        return _object(reply.state)

    async def list(self, namespace: str, *, status: str = "") -> AsyncIterator[StateObject]:
        """Yield the objects that the caller may list, in the order of their keys, page by page as they are asked for.

        :param status: only those that stand there; empty: all.
        """
        request = pb.ListStatesRequest(namespace=namespace, status=status, page_size=_PAGE)
        while True:
            reply = await asked(self._stub.ListStates(request), namespace=namespace, status=status)
            for state in reply.states:
                yield _object(state)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return

    async def history(self, namespace: str, key: str) -> AsyncIterator[StateChange]:
        """Yield what happened to the object, newest first, page by page as it is asked for."""
        request = pb.ListHistoryRequest(namespace=namespace, key=key, page_size=_PAGE)
        while True:
            reply = await asked(self._stub.ListHistory(request), namespace=namespace, key=key)
            for entry in reply.entries:
                yield _change(entry)
            request.page_token = reply.next_page_token
            if not request.page_token:
                return


async def asked(answer: Awaitable[T], **sent: Any) -> T:
    """Return the platform's answer to module code; a refusal remembers what it refused, so that it is seen whose fault it is."""
    try:
        return await answer
    except StylobateError as error:
        error.sent = error.sent or sent
        raise


def _object(state: pb.State) -> StateObject:
    return StateObject(
        namespace=state.namespace,
        key=state.key,
        version=state.version,
        status=state.status,
        data=decode(state.data),
        created_at=state.created_at.ToDatetime(tzinfo=UTC),
        updated_at=state.updated_at.ToDatetime(tzinfo=UTC),
        owner=state.owner,
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
    )
