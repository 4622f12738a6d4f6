# ruff: noqa: N802, ARG002  the names and signatures are the generated ones
"""``StateService`` and ``StateKeepingService`` on the wire: convert in, ask the manager, convert out."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import grpc.aio
from google.protobuf.message import Message
from stylobate.api.state.v1 import state_keeping_service_pb2 as keeping
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.api.state.v1.state_keeping_service_pb2_grpc import StateKeepingServiceServicer
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceServicer
from stylobate.idempotency import Idempotency
from stylobate.identity import DEFAULT_TENANT
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call
from stylobate.rpc.method import Prompt

from stylobate_state.convert import (
    from_carried,
    from_filters,
    from_history,
    from_list,
    to_cache_use,
    to_carried,
    to_finding,
    to_history_entry,
    to_operations,
    to_put,
    to_refusal,
    to_result,
    to_state,
    to_watched,
)
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.history_reader import Moment
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.operation import Assign, Delete, Operation, Patch, Restore, Transition
from stylobate_state.owner_forgetter import OwnerForgetter
from stylobate_state.state_keeper import StateKeeper
from stylobate_state.state_manager import StateManager
from stylobate_state.state_mover import StateMover
from stylobate_state.watch.watch_manager import WatchManager

_Context = grpc.aio.ServicerContext[object, object]
_Change = (
    pb.PutStateRequest
    | pb.PatchStateRequest
    | pb.DeleteStateRequest
    | pb.TransitionStateRequest
    | pb.RestoreStateRequest
    | pb.AssignStateRequest
)
M = TypeVar("M", bound=Message)


class StateServicer(StateServiceServicer):
    """Serves a StateManager. A token that is there is verified before; who it stands for decides."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(
        (
            "GetState", "GetStateVersion", "PutState", "PatchState", "DeleteState", "TransitionState", "RestoreState",
            "AssignState", "TransactStates", "ListStates", "ListHistory", "WatchStates",
        ),
        RpcAccess.OPTIONAL,
    )  # fmt: skip
    """Open to anyone at this border: each namespace says who may do what, ``public`` included."""

    PROMPT: ClassVar[Mapping[str, Prompt]] = {"GetState": lambda request: len(request.keys) == 1}
    """One key is read in a batch with others', which goes on whoever gives up; several are read by a query of their own."""

    def __init__(
        self,
        manager: StateManager,
        watches: WatchManager,
        idempotency: Idempotency,
        apart: Mapping[str, Idempotency] = MappingProxyType({}),
    ) -> None:
        """Keep the parts.

        :param apart: by namespace, where the answers of its changes are not kept with all others.
        """
        self._manager = manager
        self._watches = watches
        self._idempotency = idempotency
        self._apart = apart

    async def GetState(self, request: pb.GetStateRequest, context: _Context) -> pb.GetStateResponse:
        principal, names = call().principal, [(name.namespace, name.key) for name in request.keys]
        if request.consistency != pb.CONSISTENCY_CACHED:
            return pb.GetStateResponse(states=map(to_state, await self._manager.get(principal, names)))
        states, use = await self._manager.get_cached(principal, names)
        return pb.GetStateResponse(states=map(to_state, states), cache=to_cache_use(use))

    async def GetStateVersion(self, request: pb.GetStateVersionRequest, context: _Context) -> pb.GetStateVersionResponse:
        moment = Moment(request.version, request.as_of)
        state = await self._manager.version(call().principal, request.namespace, request.key, moment)
        return pb.GetStateVersionResponse(state=to_state(state))

    async def PutState(self, request: pb.PutStateRequest, context: _Context) -> pb.PutStateResponse:
        return await self._change(request, to_put(request), pb.PutStateResponse, _with_state)

    async def PatchState(self, request: pb.PatchStateRequest, context: _Context) -> pb.PatchStateResponse:
        return await self._change(request, Patch(request.patch), pb.PatchStateResponse, _with_state)

    async def DeleteState(self, request: pb.DeleteStateRequest, context: _Context) -> pb.DeleteStateResponse:
        return await self._change(request, Delete(), pb.DeleteStateResponse, lambda state: {"version": state.version})

    async def TransitionState(self, request: pb.TransitionStateRequest, context: _Context) -> pb.TransitionStateResponse:
        fired = Transition(request.event, request.patch)
        return await self._change(request, fired, pb.TransitionStateResponse, _with_state)

    async def RestoreState(self, request: pb.RestoreStateRequest, context: _Context) -> pb.RestoreStateResponse:
        return await self._change(request, Restore(request.version), pb.RestoreStateResponse, _with_state)

    async def AssignState(self, request: pb.AssignStateRequest, context: _Context) -> pb.AssignStateResponse:
        return await self._change(request, Assign(request.owner), pb.AssignStateResponse, _with_state)

    async def TransactStates(self, request: pb.TransactStatesRequest, context: _Context) -> pb.TransactStatesResponse:
        caller = call()
        first = request.operations[0].namespace if request.operations else ""  # all are kept where the first is
        response = await self._apart.get(first, self._idempotency).once(
            request,
            caller.principal,
            pb.TransactStatesResponse,
            lambda claim: self._manager.transact(
                caller.principal, to_operations(request.operations), cause=caller.cause, claim=claim
            ),
            lambda states: pb.TransactStatesResponse(results=map(to_result, states)),
            target="\0".join(f"{one.namespace}/{one.key}" for one in request.operations),
            is_secret=any(self._manager.encrypts(one.namespace) for one in request.operations),
        )
        for asked, result in zip(request.operations, response.results, strict=True):
            await self._cover(result.state, asked.assign.owner or asked.put.owner)
        return response

    async def ListStates(self, request: pb.ListStatesRequest, context: _Context) -> pb.ListStatesResponse:
        page = await self._manager.list_states(call().principal, request.namespace, from_list(request))
        return pb.ListStatesResponse(states=map(to_state, page.items), next_page_token=page.next_token, count=page.count)

    async def ListHistory(self, request: pb.ListHistoryRequest, context: _Context) -> pb.ListHistoryResponse:
        page = await self._manager.list_history(call().principal, request.namespace, request.key, from_history(request))
        return pb.ListHistoryResponse(entries=map(to_history_entry, page.items), next_page_token=page.next_token)

    async def WatchStates(self, request: pb.WatchStatesRequest, context: _Context) -> AsyncIterator[pb.WatchStatesResponse]:
        caller = call()
        telling = self._watches.watch(
            caller.principal,
            caller.client_address,
            request.namespace,
            request.key,
            status=request.status,
            filters=from_filters(request.filters),
            position=request.position,
        )
        async with aclosing(telling):
            async for told in telling:
                yield to_watched(told)

    async def _change(
        self, request: _Change, operation: Operation, kind: type[M], answer: Callable[[StateRecord], dict[str, Any]]
    ) -> M:
        caller = call()
        expected = request.expected_version if request.HasField("expected_version") else None
        response: Any = await self._apart.get(request.namespace, self._idempotency).once(
            request,
            caller.principal,
            kind,
            lambda claim: self._manager.change(
                caller.principal, request.namespace, request.key, operation, expected=expected, cause=caller.cause, claim=claim
            ),
            lambda state: kind(**answer(state)),
            target=f"{request.namespace}/{request.key}",
            is_secret=self._manager.encrypts(request.namespace),
            apart=("expected_version",),  # whoever comes again may have seen what the first call made
        )
        if not isinstance(response, pb.DeleteStateResponse):
            await self._cover(response.state, operation.assigns or "")
        answered: M = response
        return answered

    async def _cover(self, state: pb.State, said: str) -> None:
        """Take out of the answer to a change what the caller may not see now, also where it was made before.

        :param said: the owner that the caller has said.
        """
        principal = call().principal
        state.data = await self._manager.shown_data(principal, state.namespace, state.key, state.owner, state.data)
        if state.owner != said and not await self._manager.shows_owner(principal, state.namespace, state.key, state.owner):
            state.owner = ""


class StateKeepingServicer(StateKeepingServiceServicer):
    """Serves a StateKeeper and a HistoryForgetter to the operator's command."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(
        (
            "MigrateStates", "CheckStates", "ExportStates", "ImportStates", "EraseState", "ForgetOwner", "MoveStates",
            "ClearStates", "ListStatePlaces",
        ),
        RpcAccess.SERVICE,
    )  # fmt: skip

    def __init__(
        self, keeper: StateKeeper, forgetters: Mapping[str, HistoryForgetter], mover: StateMover, owners: OwnerForgetter
    ) -> None:
        """Keep the parts.

        :param forgetters: by namespace.
        """
        self._keeper = keeper
        self._forgetters = forgetters
        self._mover = mover
        self._owners = owners

    async def EraseState(self, request: keeping.EraseStateRequest, context: _Context) -> keeping.EraseStateResponse:
        forgetter = self._forgetters[self._keeper.namespace(request.namespace).name]
        await self._mover.check_here([request.namespace])
        erased = await forgetter.erase(StateKey(request.tenant or DEFAULT_TENANT, request.namespace, request.key))
        await self._mover.check_here([request.namespace])  # a move may have carried it meanwhile: once more, there
        return keeping.EraseStateResponse(versions=erased.versions, living_version=erased.living_version)

    async def ForgetOwner(self, request: keeping.ForgetOwnerRequest, context: _Context) -> keeping.ForgetOwnerResponse:
        await self._mover.check_here(self._owners.namespaces)
        objects, place = await self._owners.step(request.tenant or DEFAULT_TENANT, request.owner, request.place)
        await self._mover.check_here(self._owners.namespaces)  # the same
        return keeping.ForgetOwnerResponse(objects=objects, next_place=place)

    async def MoveStates(self, request: keeping.MoveStatesRequest, context: _Context) -> keeping.MoveStatesResponse:
        step = await self._mover.step(request.namespace, request.database, request.place)
        return keeping.MoveStatesResponse(
            objects=step.objects, versions=step.versions, next_place=step.next_place, taken_back=step.is_taken_back
        )

    async def ClearStates(self, request: keeping.ClearStatesRequest, context: _Context) -> keeping.ClearStatesResponse:
        return keeping.ClearStatesResponse(next_place=await self._mover.clear(request.namespace, request.database, request.place))

    async def ListStatePlaces(
        self, request: keeping.ListStatePlacesRequest, context: _Context
    ) -> keeping.ListStatePlacesResponse:
        standings = await self._mover.standings()
        return keeping.ListStatePlacesResponse(
            places=[
                keeping.StatePlace(namespace=one.namespace, database=one.database, moving_to=one.moving_to, left_in=one.left_in)
                for one in standings.found
            ],
            away=standings.away,
        )

    async def MigrateStates(self, request: keeping.MigrateStatesRequest, context: _Context) -> keeping.MigrateStatesResponse:
        step = await self._keeper.migrate(request.namespace, request.place)
        return keeping.MigrateStatesResponse(
            schema_version=step.schema_version,
            looked=step.looked,
            migrated=step.migrated,
            findings=map(to_finding, step.findings),
            next_place=step.next_place,
        )

    async def CheckStates(self, request: keeping.CheckStatesRequest, context: _Context) -> keeping.CheckStatesResponse:
        step = await self._keeper.check(request.namespace, request.place)
        return keeping.CheckStatesResponse(
            looked=step.looked, findings=map(to_finding, step.findings), next_place=step.next_place
        )

    async def ExportStates(self, request: keeping.ExportStatesRequest, context: _Context) -> keeping.ExportStatesResponse:
        after = StateKey(request.after_tenant, request.namespace, request.after_key) if request.after_tenant else None
        states, place = await self._keeper.porter.give(self._keeper.namespace(request.namespace), after)
        return keeping.ExportStatesResponse(
            states=map(to_carried, states),
            next_tenant=place.tenant if place is not None else "",
            next_key=place.key if place is not None else "",
        )

    async def ImportStates(self, request: keeping.ImportStatesRequest, context: _Context) -> keeping.ImportStatesResponse:
        namespace = self._keeper.namespace(request.namespace)
        taken = await self._keeper.porter.take(namespace, [*map(from_carried, request.states)], replaces=request.replace)
        return keeping.ImportStatesResponse(
            written=taken.written, unchanged=taken.unchanged, refusals=map(to_refusal, taken.refusals)
        )


def _with_state(state: StateRecord) -> dict[str, Any]:
    return {"state": to_state(state)}
