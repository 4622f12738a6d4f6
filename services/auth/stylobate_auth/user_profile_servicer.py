"""The RPCs of others' names and addresses: convert in, call the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import user_profile_service_pb2 as pb
from stylobate.api.auth.v1.user_profile_service_pb2_grpc import UserProfileServiceServicer as Generated
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.convert import to_user
from stylobate_auth.user_profile_manager import UserProfileManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class UserProfileServicer(Generated):
    """Names and addresses that the operator changes."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "SetUserName": RpcAccess.AUTHENTICATED,
        "SetUserEmail": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: UserProfileManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def SetUserName(self, request: pb.SetUserNameRequest, context: Any) -> pb.SetUserNameResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.SetUserNameResponse,
            lambda claim: self._manager.rename(caller.principal, request.id, request.display_name, caller, claim),
            lambda account: pb.SetUserNameResponse(user=to_user(account)),
        )

    async def SetUserEmail(self, request: pb.SetUserEmailRequest, context: Any) -> pb.SetUserEmailResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.SetUserEmailResponse,
            lambda claim: self._manager.set_email(caller.principal, request.id, request.email, caller, claim),
            lambda account: pb.SetUserEmailResponse(user=to_user(account)),
        )
