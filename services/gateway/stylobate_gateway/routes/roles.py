"""Roles of accounts: `/v1/users/{id}/roles`."""

from datetime import UTC

import grpc.aio
from fastapi import APIRouter, Response
from stylobate.api.auth.v1 import role_service_pb2 as pb
from stylobate.api.auth.v1.role_service_pb2_grpc import RoleServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.roles import HeldRole, HeldRoleList, RoleAssign, RoleName
from stylobate_gateway.schemas.service_accounts import AccountId


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/users/{id}/roles", "access")
    stub = RoleServiceStub(channel)

    @router.get("", responses=refuses("Accounts", 404, 422))
    async def list_user_roles(id: AccountId) -> HeldRoleList:  # noqa: A002  the name in the path
        """List the roles of an account. Others' than one's own take `roles:read`."""
        response = await stub.ListUserRoles(pb.ListUserRolesRequest(user_id=id))
        return HeldRoleList(items=[*map(_held, response.roles)])

    @router.put("/{name}", responses=refuses("Accounts", 404, 409, has_body=True, is_change=True))
    async def assign_role(id: AccountId, name: RoleName, exchange: Changing, body: RoleAssign | None = None) -> HeldRole:  # noqa: A002
        """Give an account a role, or another end to one that it holds. Takes `roles:assign`, and all that the role permits."""
        request = pb.AssignRoleRequest(user_id=id, role=name)
        if body is not None and body.expires_at is not None:
            request.expires_at.FromDatetime(body.expires_at.astimezone(UTC))
        return _held((await answered(exchange, stub.AssignRole, request)).role)

    @router.delete("/{name}", status_code=204, responses=refuses("Accounts", 404, 409, is_change=True))
    async def remove_role(id: AccountId, name: RoleName, exchange: Changing) -> Response:  # noqa: A002
        """Take a role from an account, also for tokens that it has. Takes what giving it takes."""
        await answered(exchange, stub.RemoveRole, pb.RemoveRoleRequest(user_id=id, role=name))
        return Response(status_code=204)

    return router


def _held(held: pb.HeldRole) -> HeldRole:
    return HeldRole(
        role=held.role,
        expires_at=held.expires_at.ToDatetime(tzinfo=UTC) if held.HasField("expires_at") else None,
        assigned_at=held.assigned_at.ToDatetime(tzinfo=UTC) if held.HasField("assigned_at") else None,
        assigned_by=held.assigned_by or None,
    )
