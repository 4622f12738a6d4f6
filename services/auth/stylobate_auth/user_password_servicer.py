"""The RPC of others' passwords: convert in, call the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import user_password_service_pb2 as pb
from stylobate.api.auth.v1.user_password_service_pb2_grpc import UserPasswordServiceServicer as Generated
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.password_manager import PasswordManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class UserPasswordServicer(Generated):
    """Passwords that the operator sets."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"SetUserPassword": RpcAccess.AUTHENTICATED}

    def __init__(self, manager: PasswordManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def SetUserPassword(self, request: pb.SetUserPasswordRequest, context: Any) -> pb.SetUserPasswordResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.SetUserPasswordResponse,
            lambda claim: self._manager.set(caller.principal, request.id, request.new_password, caller, claim),
            lambda _: pb.SetUserPasswordResponse(),
        )
