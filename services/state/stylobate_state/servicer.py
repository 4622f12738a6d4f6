# ruff: noqa: N802, ARG002  the names and signatures are the generated ones
"""``StateService`` on the wire: convert in, ask the manager, convert out."""

from collections.abc import Mapping
from typing import ClassVar

import grpc.aio
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceServicer
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_state.convert import to_history_entry, to_state
from stylobate_state.state_manager import StateManager

_Context = grpc.aio.ServicerContext[object, object]


class StateServicer(StateServiceServicer):
    """Serves a StateManager. A token that is there is verified before; who it stands for decides."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(
        ("GetState", "PutState", "PatchState", "DeleteState", "TransitionState", "ListStates", "ListHistory"), RpcAccess.OPTIONAL
    )
    """Open to anyone at this border: each namespace says who may do what, ``public`` included."""

    def __init__(self, manager: StateManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def GetState(self, request: pb.GetStateRequest, context: _Context) -> pb.GetStateResponse:
        states = await self._manager.get(call().principal, [(name.namespace, name.key) for name in request.keys])
        return pb.GetStateResponse(states=map(to_state, states))

    async def PutState(self, request: pb.PutStateRequest, context: _Context) -> pb.PutStateResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.PutStateResponse,
            lambda claim: self._manager.put(
                caller.principal,
                request.namespace,
                request.key,
                request.data,
                expected=_expected(request),
                status=request.status if request.HasField("status") else None,
                cause=caller.cause,
                claim=claim,
            ),
            lambda state: pb.PutStateResponse(state=to_state(state)),
        )

    async def PatchState(self, request: pb.PatchStateRequest, context: _Context) -> pb.PatchStateResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.PatchStateResponse,
            lambda claim: self._manager.patch(
                caller.principal,
                request.namespace,
                request.key,
                request.patch,
                expected=_expected(request),
                cause=caller.cause,
                claim=claim,
            ),
            lambda state: pb.PatchStateResponse(state=to_state(state)),
        )

    async def DeleteState(self, request: pb.DeleteStateRequest, context: _Context) -> pb.DeleteStateResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.DeleteStateResponse,
            lambda claim: self._manager.delete(
                caller.principal, request.namespace, request.key, expected=_expected(request), cause=caller.cause, claim=claim
            ),
            lambda version: pb.DeleteStateResponse(version=version),
        )

    async def TransitionState(self, request: pb.TransitionStateRequest, context: _Context) -> pb.TransitionStateResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.TransitionStateResponse,
            lambda claim: self._manager.transition(
                caller.principal,
                request.namespace,
                request.key,
                request.event,
                patch=request.patch,
                expected=_expected(request),
                cause=caller.cause,
                claim=claim,
            ),
            lambda state: pb.TransitionStateResponse(state=to_state(state)),
        )

    async def ListStates(self, request: pb.ListStatesRequest, context: _Context) -> pb.ListStatesResponse:
        page = await self._manager.list_states(
            call().principal, request.namespace, status=request.status, size=request.page_size, token=request.page_token
        )
        return pb.ListStatesResponse(states=map(to_state, page.items), next_page_token=page.next_token)

    async def ListHistory(self, request: pb.ListHistoryRequest, context: _Context) -> pb.ListHistoryResponse:
        page = await self._manager.list_history(
            call().principal, request.namespace, request.key, size=request.page_size, token=request.page_token
        )
        return pb.ListHistoryResponse(entries=map(to_history_entry, page.items), next_page_token=page.next_token)


_Change = pb.PutStateRequest | pb.PatchStateRequest | pb.DeleteStateRequest | pb.TransitionStateRequest


def _expected(request: _Change) -> int | None:
    return request.expected_version if request.HasField("expected_version") else None
