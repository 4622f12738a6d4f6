"""The RPCs about people's accounts: convert in, call the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import user_service_pb2 as pb
from stylobate.api.auth.v1.user_service_pb2_grpc import UserServiceServicer
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.convert import from_user_query, to_deleted_user, to_sessions, to_user_account
from stylobate_auth.user import UserDeletion
from stylobate_auth.user_eraser import UserEraser
from stylobate_auth.user_manager import UserManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class UserServicer(UserServiceServicer):
    """People's accounts, for administrators."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "ListUsers": RpcAccess.AUTHENTICATED,
        "GetUser": RpcAccess.AUTHENTICATED,
        "DisableUser": RpcAccess.AUTHENTICATED,
        "EnableUser": RpcAccess.AUTHENTICATED,
        "DeleteUser": RpcAccess.AUTHENTICATED,
        "DeleteMe": RpcAccess.AUTHENTICATED,
        "ListUserSessions": RpcAccess.AUTHENTICATED,
        "RevokeUserSessions": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: UserManager, eraser: UserEraser, idempotency: Idempotency) -> None:
        self._manager = manager
        self._eraser = eraser
        self._once = idempotency.once

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        query = from_user_query(request)
        found, more = await self._manager.page(call().principal, query, request.page_size, request.page_token)
        return pb.ListUsersResponse(users=map(to_user_account, found), next_page_token=more)

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.GetUserResponse:
        found = await self._manager.get(call().principal, request.id)
        return pb.GetUserResponse(user=to_deleted_user(found) if isinstance(found, UserDeletion) else to_user_account(found))

    async def DisableUser(self, request: pb.DisableUserRequest, context: Any) -> pb.DisableUserResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.DisableUserResponse,
            lambda claim: self._manager.disable(caller.principal, request.id, caller, claim),
            lambda _: pb.DisableUserResponse(),
        )

    async def EnableUser(self, request: pb.EnableUserRequest, context: Any) -> pb.EnableUserResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.EnableUserResponse,
            lambda claim: self._manager.enable(caller.principal, request.id, caller, claim),
            lambda _: pb.EnableUserResponse(),
        )

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Any) -> pb.DeleteUserResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.DeleteUserResponse,
            lambda claim: self._eraser.delete(caller.principal, request.id, caller, claim),
            lambda _: pb.DeleteUserResponse(),
        )

    async def DeleteMe(self, request: pb.DeleteMeRequest, context: Any) -> pb.DeleteMeResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.DeleteMeResponse,
            lambda claim: self._eraser.delete_own(caller.principal, request.password, caller, claim),
            lambda _: pb.DeleteMeResponse(),
        )

    async def ListUserSessions(self, request: pb.ListUserSessionsRequest, context: Any) -> pb.ListUserSessionsResponse:
        principal = call().principal
        found, more = await self._manager.sessions(principal, request.id, request.page_size, request.page_token)
        return pb.ListUserSessionsResponse(sessions=await to_sessions(found, principal.session), next_page_token=more)

    async def RevokeUserSessions(self, request: pb.RevokeUserSessionsRequest, context: Any) -> pb.RevokeUserSessionsResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.RevokeUserSessionsResponse,
            lambda claim: self._manager.end_sessions(caller.principal, request.id, caller, claim),
            lambda _: pb.RevokeUserSessionsResponse(),
        )
