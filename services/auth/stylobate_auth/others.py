"""The services that keep something of people beside auth: state, and the modules, which actions runs."""

import grpc.aio
from stylobate.api.actions.v1.module_service_pb2 import ForgetUserRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.api.state.v1.state_keeping_service_pb2 import ForgetOwnerRequest
from stylobate.api.state.v1.state_keeping_service_pb2_grpc import StateKeepingServiceStub
from stylobate.stopping import check_cancelled

from stylobate_auth.user import UserDeletion

_STEP_S = 60.0


class OtherServices:
    """Asks them, over their channels."""

    def __init__(self, state: grpc.aio.Channel, actions: grpc.aio.Channel) -> None:
        self._state = StateKeepingServiceStub(state)
        self._modules = ModuleServiceStub(actions)

    async def forget(self, deletion: UserDeletion) -> None:
        """See Others. Modules come first: what they look up in their namespaces is there still."""
        request = ForgetUserRequest(tenant=deletion.tenant, user_id=deletion.id)
        await self._modules.ForgetUser(request, timeout=_STEP_S)
        place = ""
        while True:
            check_cancelled()
            asked = ForgetOwnerRequest(tenant=deletion.tenant, owner=deletion.id, place=place)
            place = (await self._state.ForgetOwner(asked, timeout=_STEP_S)).next_place
            if not place:
                return
