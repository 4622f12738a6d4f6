# ruff: noqa: N802, ARG002  the names and signatures are the generated ones
"""``StateService`` on the wire: convert in, ask the manager, convert out."""

import grpc.aio
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceServicer
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_state.convert import history_message, state_message
from stylobate_state.state_manager import StateManager

ACCESS = dict.fromkeys(
    ("GetState", "PutState", "PatchState", "DeleteState", "TransitionState", "ListStates", "ListHistory"), RpcAccess.OPTIONAL
)
"""Open to anyone at this border: each namespace says who may do what, ``public`` included."""

_Context = grpc.aio.ServicerContext[object, object]


class StateServicer(StateServiceServicer):
    """Serves a StateManager. A token that is there is verified before; who it stands for decides."""

    def __init__(self, manager: StateManager) -> None:
        self._manager = manager

    async def GetState(self, request: pb.GetStateRequest, context: _Context) -> pb.GetStateResponse:
        """Read a batch."""
        states = await self._manager.get(call().principal, [(name.namespace, name.key) for name in request.keys])
        return pb.GetStateResponse(states=map(state_message, states))

    async def PutState(self, request: pb.PutStateRequest, context: _Context) -> pb.PutStateResponse:
        """Create or replace."""
        state = await self._manager.put(
            call().principal,
            request.namespace,
            request.key,
            request.data,
            expected=request.expected_version if request.HasField("expected_version") else None,
            status=request.status if request.HasField("status") else None,
        )
        return pb.PutStateResponse(state=state_message(state))

    async def PatchState(self, request: pb.PatchStateRequest, context: _Context) -> pb.PatchStateResponse:
        """Merge."""
        expected = request.expected_version if request.HasField("expected_version") else None
        state = await self._manager.patch(call().principal, request.namespace, request.key, request.patch, expected=expected)
        return pb.PatchStateResponse(state=state_message(state))

    async def DeleteState(self, request: pb.DeleteStateRequest, context: _Context) -> pb.DeleteStateResponse:
        """Remove."""
        expected = request.expected_version if request.HasField("expected_version") else None
        version = await self._manager.delete(call().principal, request.namespace, request.key, expected=expected)
        return pb.DeleteStateResponse(version=version)

    async def TransitionState(self, request: pb.TransitionStateRequest, context: _Context) -> pb.TransitionStateResponse:
        """Fire an event."""
        expected = request.expected_version if request.HasField("expected_version") else None
        state = await self._manager.transition(
            call().principal, request.namespace, request.key, request.event, patch=request.patch, expected=expected
        )
        return pb.TransitionStateResponse(state=state_message(state))

    async def ListStates(self, request: pb.ListStatesRequest, context: _Context) -> pb.ListStatesResponse:
        """List a namespace."""
        page = await self._manager.list_states(
            call().principal, request.namespace, status=request.status, size=request.page_size, token=request.page_token
        )
        return pb.ListStatesResponse(states=map(state_message, page.items), next_page_token=page.next_token)

    async def ListHistory(self, request: pb.ListHistoryRequest, context: _Context) -> pb.ListHistoryResponse:
        """List what happened to one object."""
        page = await self._manager.list_history(
            call().principal, request.namespace, request.key, size=request.page_size, token=request.page_token
        )
        return pb.ListHistoryResponse(entries=map(history_message, page.items), next_page_token=page.next_token)
