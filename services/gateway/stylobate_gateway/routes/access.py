"""Roles in the database, `/v1/roles`, and decisions that are explained, `/v1/access/check`."""

from datetime import UTC

import grpc.aio
from fastapi import APIRouter, Response
from stylobate.api.auth.v1 import role_service_pb2 as pb
from stylobate.api.auth.v1.access_service_pb2 import ExplainAccessRequest
from stylobate.api.auth.v1.access_service_pb2_grpc import AccessServiceStub
from stylobate.api.auth.v1.role_service_pb2_grpc import RoleServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.roles import AccessCheck, AccessDecision, AccessReason, Role, RoleList, RoleName, RolePut


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1", "access")
    roles, access = RoleServiceStub(channel), AccessServiceStub(channel)

    @router.get("/roles", responses=refuses("Accounts", 422))
    async def list_roles() -> RoleList:
        """List all roles: those of modules and those in the database. Takes `roles:read`."""
        return RoleList(items=[*map(_role, (await roles.ListRoles(pb.ListRolesRequest())).roles)])

    @router.get("/roles/{name}", responses=refuses("Accounts", 404, 422))
    async def get_role(name: RoleName) -> Role:
        """Show a role. Takes `roles:read`."""
        return _role((await roles.GetRole(pb.GetRoleRequest(name=name))).role)

    @router.put("/roles/{name}", responses=refuses("Accounts", 409, has_body=True, is_change=True))
    async def put_role(name: RoleName, body: RolePut, exchange: Changing) -> Role:
        """Make or replace a role in the database. Takes `roles:write`, and all that it permits, before and afterwards."""
        request = pb.PutRoleRequest(name=name, description=body.description, permissions=body.permissions, inherits=body.inherits)
        return _role((await answered(exchange, roles.PutRole, request)).role)

    @router.delete("/roles/{name}", status_code=204, responses=refuses("Accounts", 404, 409, is_change=True))
    async def delete_role(name: RoleName, exchange: Changing) -> Response:
        """Delete a role from the database, and take it from all who hold it. Takes what making it takes."""
        await answered(exchange, roles.DeleteRole, pb.DeleteRoleRequest(name=name))
        return Response(status_code=204)

    @router.post("/access/check", responses=refuses("Accounts", has_body=True))
    async def check_access(body: AccessCheck) -> AccessDecision:
        """Say whether an account may do something, and why. Others' than one's own takes `access:read`."""
        request = ExplainAccessRequest(subject=body.subject or "", permission=body.permission, resource=body.resource or "")
        found = await access.ExplainAccess(request)
        reasons = [
            AccessReason(
                role=one.role or None,
                through=list(one.through),
                permission=one.permission,
                source=one.source,
                resource=one.resource or None,
            )
            for one in found.reasons
        ]
        return AccessDecision(allowed=found.allowed, reasons=reasons, would_permit=list(found.would_permit))

    return router


def _role(role: pb.Role) -> Role:
    return Role(
        name=role.name,
        description=role.description,
        permissions=list(role.permissions),
        inherits=list(role.inherits),
        effective_permissions=list(role.effective_permissions),
        declared_by=list(role.declared_by),
        changed_at=role.changed_at.ToDatetime(tzinfo=UTC) if role.HasField("changed_at") else None,
    )
