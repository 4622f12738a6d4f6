"""Permissions on single resources: `/v1/grants`."""

from datetime import UTC
from typing import Annotated

import grpc.aio
from fastapi import APIRouter, Query, Response
from stylobate.api.auth.v1 import grant_service_pb2 as pb
from stylobate.api.auth.v1.grant_service_pb2_grpc import GrantServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.common import PageSize, PageToken
from stylobate_gateway.schemas.grants import Grant, GrantList, GrantPut, OfPermission, OfSubject, OnResource

_Everyone = Annotated[bool, Query(description="Whether to list those of all subjects. Takes `grants:read`.")]


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/grants", "access")
    stub = GrantServiceStub(channel)

    @router.get("", responses=refuses("Accounts", 422))
    async def list_grants(  # noqa: PLR0917  each a parameter of the query
        subject: OfSubject = "",
        permission: OfPermission = "",
        resource: OnResource = "",
        everyone: _Everyone = False,
        page_size: PageSize = 50,
        page_token: PageToken = "",
    ) -> GrantList:
        """List one's own grants; those of a subject or of all take `grants:read`. A prefix finds also what lies in it."""
        request = pb.ListGrantsRequest(
            subject=subject,
            everyone=everyone,
            permission=permission,
            resource=resource,
            page_size=page_size,
            page_token=page_token,
        )
        response = await stub.ListGrants(request)
        return GrantList(items=[*map(_grant, response.grants)], next_page_token=response.next_page_token or None)

    @router.put("", responses=refuses("Accounts", 404, has_body=True, is_change=True))
    async def put_grant(body: GrantPut, exchange: Changing) -> Grant:
        """Give a permission on a resource, or another end to one given. Takes `grants:write`, and that permission there."""
        request = pb.PutGrantRequest(subject=body.subject, permission=body.permission, resource=body.resource)
        if body.expires_at is not None:
            request.expires_at.FromDatetime(body.expires_at.astimezone(UTC))
        return _grant((await answered(exchange, stub.PutGrant, request)).grant)

    @router.delete("", status_code=204, responses=refuses("Accounts", 404, is_change=True))
    async def delete_grant(subject: OfSubject, permission: OfPermission, resource: OnResource, exchange: Changing) -> Response:
        """Take a permission on a resource away, also for tokens issued before. Takes what giving it takes."""
        request = pb.DeleteGrantRequest(subject=subject, permission=permission, resource=resource)
        await answered(exchange, stub.DeleteGrant, request)
        return Response(status_code=204)

    return router


def _grant(grant: pb.Grant) -> Grant:
    return Grant(
        subject=grant.subject,
        permission=grant.permission,
        resource=grant.resource,
        expires_at=grant.expires_at.ToDatetime(tzinfo=UTC) if grant.HasField("expires_at") else None,
        granted_at=grant.granted_at.ToDatetime(tzinfo=UTC),
        granted_by=grant.granted_by,
    )
