"""The RPCs of the first administrator: convert in, call the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import first_admin_service_pb2 as pb
from stylobate.api.auth.v1.first_admin_service_pb2_grpc import FirstAdminServiceServicer
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.convert import to_timestamp, to_user
from stylobate_auth.first_admin_manager import FirstAdminManager
from stylobate_auth.model import AccountDraft

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class FirstAdminServicer(FirstAdminServiceServicer):
    """The first administrator."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "InviteFirstAdmin": RpcAccess.AUTHENTICATED,
        "CreateFirstAdmin": RpcAccess.PUBLIC,
    }

    def __init__(self, manager: FirstAdminManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def InviteFirstAdmin(self, request: pb.InviteFirstAdminRequest, context: Any) -> pb.InviteFirstAdminResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.InviteFirstAdminResponse,
            lambda claim: self._manager.invite(caller.principal, caller, claim),
            lambda made: pb.InviteFirstAdminResponse(token=made.token, link=made.link, expires_at=to_timestamp(made.expires_at)),
        )

    async def CreateFirstAdmin(self, request: pb.CreateFirstAdminRequest, context: Any) -> pb.CreateFirstAdminResponse:
        caller = call()
        draft = AccountDraft(request.email, request.password, request.display_name)
        return await self._once(
            request,
            caller.principal,
            pb.CreateFirstAdminResponse,
            lambda claim: self._manager.create(request.token, draft, caller, claim),
            lambda account: pb.CreateFirstAdminResponse(user=to_user(account)),
        )
