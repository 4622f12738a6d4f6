"""``OwnedStateService`` on the wire: convert in, ask, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.state.v1 import owned_state_service_pb2 as pb
from stylobate.api.state.v1.owned_state_service_pb2_grpc import OwnedStateServiceServicer
from stylobate.identity import DEFAULT_TENANT
from stylobate.rpc import RpcAccess

from stylobate_state.convert import to_state
from stylobate_state.owned_states import OwnedStates

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class OwnedStateServicer(OwnedStateServiceServicer):
    """Objects by whom they belong to, for services."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"ListOwnedStates": RpcAccess.SERVICE}

    def __init__(self, owned: OwnedStates) -> None:
        self._owned = owned

    async def ListOwnedStates(self, request: pb.ListOwnedStatesRequest, context: Any) -> pb.ListOwnedStatesResponse:
        tenant = request.tenant or DEFAULT_TENANT
        states, more = await self._owned.page(tenant, request.owner, request.namespace, request.page_token)
        unreadable = [state.key.key for state in states if state.unreadable]
        return pb.ListOwnedStatesResponse(states=map(to_state, states), next_page_token=more, unreadable_keys=unreadable)
