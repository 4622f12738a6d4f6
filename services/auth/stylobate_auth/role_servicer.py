"""The RPCs of roles: convert in, call the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import role_service_pb2 as pb
from stylobate.api.auth.v1 import role_service_pb2_grpc
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.convert import from_assign, from_put, to_held_role, to_role
from stylobate_auth.role_definition_manager import RoleDefinitionManager
from stylobate_auth.role_manager import RoleManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class RoleServicer(role_service_pb2_grpc.RoleServiceServicer):
    """Roles of accounts."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "AssignRole": RpcAccess.AUTHENTICATED,
        "RemoveRole": RpcAccess.AUTHENTICATED,
        "ListUserRoles": RpcAccess.AUTHENTICATED,
        "ListRoles": RpcAccess.AUTHENTICATED,
        "GetRole": RpcAccess.AUTHENTICATED,
        "PutRole": RpcAccess.AUTHENTICATED,
        "DeleteRole": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: RoleManager, definitions: RoleDefinitionManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._definitions = definitions
        self._once = idempotency.once

    async def AssignRole(self, request: pb.AssignRoleRequest, context: Any) -> pb.AssignRoleResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.AssignRoleResponse,
            lambda claim: self._manager.assign(caller.principal, request.user_id, from_assign(request), caller, claim),
            lambda held: pb.AssignRoleResponse(role=to_held_role(held)),
        )

    async def RemoveRole(self, request: pb.RemoveRoleRequest, context: Any) -> pb.RemoveRoleResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.RemoveRoleResponse,
            lambda claim: self._manager.remove(caller.principal, request.user_id, request.role, caller, claim),
            lambda _: pb.RemoveRoleResponse(),
        )

    async def ListUserRoles(self, request: pb.ListUserRolesRequest, context: Any) -> pb.ListUserRolesResponse:
        found = await self._manager.of_account(call().principal, request.user_id)
        return pb.ListUserRolesResponse(roles=[*map(to_held_role, found)])

    async def ListRoles(self, request: pb.ListRolesRequest, context: Any) -> pb.ListRolesResponse:
        return pb.ListRolesResponse(roles=[*map(to_role, await self._definitions.all(call().principal))])

    async def GetRole(self, request: pb.GetRoleRequest, context: Any) -> pb.GetRoleResponse:
        return pb.GetRoleResponse(role=to_role(await self._definitions.get(call().principal, request.name)))

    async def PutRole(self, request: pb.PutRoleRequest, context: Any) -> pb.PutRoleResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.PutRoleResponse,
            lambda claim: self._definitions.put(caller.principal, from_put(request), caller, claim),
            lambda role: pb.PutRoleResponse(role=to_role(role)),
        )

    async def DeleteRole(self, request: pb.DeleteRoleRequest, context: Any) -> pb.DeleteRoleResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.DeleteRoleResponse,
            lambda claim: self._definitions.delete(caller.principal, request.name, caller, claim),
            lambda _: pb.DeleteRoleResponse(),
        )
