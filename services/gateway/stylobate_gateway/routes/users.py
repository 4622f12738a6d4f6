"""Accounts of people: `/v1/users`, for administrators."""

from datetime import UTC
from typing import Any

import grpc.aio
from fastapi import APIRouter, Response
from stylobate.api.auth.v1 import user_service_pb2 as pb
from stylobate.api.auth.v1.user_service_pb2_grpc import UserServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.routes.sessions import to_session
from stylobate_gateway.schemas.accounts import SessionList
from stylobate_gateway.schemas.common import PageSize, PageToken
from stylobate_gateway.schemas.users import CreatedAfter, CreatedBefore, OfEmail, OfRole, UserAccount, UserId, UserList

_STATUSES: dict[int, Any] = {
    pb.USER_STATUS_ACTIVE: "active",
    pb.USER_STATUS_DISABLED: "disabled",
    pb.USER_STATUS_DELETING: "deleting",
    pb.USER_STATUS_DELETED: "deleted",
}
# ruff: noqa: A002  `id`, as the path has it


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/users", "accounts")
    stub = UserServiceStub(channel)

    @router.get("", responses=refuses("Accounts", 422))
    async def list_users(  # noqa: PLR0917  each a parameter of the query
        email: OfEmail = "",
        role: OfRole = "",
        created_after: CreatedAfter = None,
        created_before: CreatedBefore = None,
        page_size: PageSize = 50,
        page_token: PageToken = "",
    ) -> UserList:
        """List people's accounts that fit everything. Takes `users:read`."""
        request = pb.ListUsersRequest(email=email, role=role, page_size=page_size, page_token=page_token)
        if created_after is not None:
            request.created_after.FromDatetime(created_after)
        if created_before is not None:
            request.created_before.FromDatetime(created_before)
        response = await stub.ListUsers(request)
        return UserList(items=[*map(_user, response.users)], next_page_token=response.next_page_token or None)

    @router.get("/{id}", responses=refuses("Accounts", 404, 422))
    async def get_user(id: UserId) -> UserAccount:
        """Get an account. Takes `users:read`."""
        return _user((await stub.GetUser(pb.GetUserRequest(id=id))).user)

    @router.post("/{id}/disable", status_code=204, responses=refuses("Accounts", 404, is_change=True))
    async def disable_user(id: UserId, exchange: Changing) -> Response:
        """Let nobody in any more: what is open ends within a second. Takes `users:write`, and what its roles permit."""
        await answered(exchange, stub.DisableUser, pb.DisableUserRequest(id=id))
        return Response(status_code=204)

    @router.post("/{id}/enable", status_code=204, responses=refuses("Accounts", 404, is_change=True))
    async def enable_user(id: UserId, exchange: Changing) -> Response:
        """Let the account's owner in again; what was ended stays ended. Takes `users:write`, and what its roles permit."""
        await answered(exchange, stub.EnableUser, pb.EnableUserRequest(id=id))
        return Response(status_code=204)

    @router.delete("/{id}", status_code=202, responses=refuses("Accounts", 404, is_change=True), response_class=Response)
    async def delete_user(id: UserId, exchange: Changing) -> Response:
        """Delete an account: at once here, then in all services and modules. Takes `users:delete`, and what its roles permit."""
        await answered(exchange, stub.DeleteUser, pb.DeleteUserRequest(id=id))
        return Response(status_code=202)

    @router.get("/{id}/sessions", responses=refuses("Accounts", 404, 422))
    async def list_user_sessions(id: UserId, page_size: PageSize = 50, page_token: PageToken = "") -> SessionList:
        """List the sessions of an account that live, the newest first. Takes `users:read`."""
        request = pb.ListUserSessionsRequest(id=id, page_size=page_size, page_token=page_token)
        response = await stub.ListUserSessions(request)
        return SessionList(items=[*map(to_session, response.sessions)], next_page_token=response.next_page_token or None)

    @router.delete("/{id}/sessions", status_code=204, responses=refuses("Accounts", 404, is_change=True))
    async def revoke_user_sessions(id: UserId, exchange: Changing) -> Response:
        """End every session of an account, everywhere within a second. Takes `users:write`, and what its roles permit."""
        await answered(exchange, stub.RevokeUserSessions, pb.RevokeUserSessionsRequest(id=id))
        return Response(status_code=204)

    return router


def _user(user: pb.UserAccount) -> UserAccount:
    times = {
        name: getattr(user, name).ToDatetime(tzinfo=UTC) if user.HasField(name) else None
        for name in ("created_at", "disabled_at", "deletion_began_at", "deleted_at")
    }
    is_there = not user.HasField("deletion_began_at")
    return UserAccount(
        id=user.id,
        email=user.email if is_there else None,
        display_name=user.display_name if is_there else None,
        roles=list(user.roles),
        email_verified=user.email_verified if is_there else None,
        status=_STATUSES[user.status],
        **times,
    )
