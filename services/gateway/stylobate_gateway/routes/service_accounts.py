"""Accounts of machines: `/v1/service-accounts`, for operators."""

from datetime import UTC

import grpc.aio
from fastapi import APIRouter, Response
from stylobate.api.auth.v1 import service_account_service_pb2 as pb
from stylobate.api.auth.v1.service_account_service_pb2_grpc import ServiceAccountServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.common import PageSize, PageToken
from stylobate_gateway.schemas.service_accounts import AccountId, ServiceAccount, ServiceAccountCreate, ServiceAccountList


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/service-accounts", "accounts")
    stub = ServiceAccountServiceStub(channel)

    @router.post("", status_code=201, responses=refuses("Accounts", has_body=True, is_change=True))
    async def create_service_account(body: ServiceAccountCreate, exchange: Changing) -> ServiceAccount:
        """Make a service account. Takes `service_accounts:write`, and all that its roles permit."""
        request = pb.CreateServiceAccountRequest(name=body.name, roles=body.roles)
        return _account((await answered(exchange, stub.CreateServiceAccount, request)).service_account)

    @router.get("", responses=refuses("Accounts", 422))
    async def list_service_accounts(page_size: PageSize = 50, page_token: PageToken = "") -> ServiceAccountList:
        """List the service accounts. Takes `service_accounts:read`."""
        request = pb.ListServiceAccountsRequest(page_size=page_size, page_token=page_token)
        response = await stub.ListServiceAccounts(request)
        return ServiceAccountList(
            items=[*map(_account, response.service_accounts)], next_page_token=response.next_page_token or None
        )

    @router.delete("/{id}", status_code=204, responses=refuses("Accounts", 404, is_change=True))
    async def delete_service_account(id: AccountId, exchange: Changing) -> Response:  # noqa: A002  the name in the path
        """Delete a service account with its API keys. Takes `service_accounts:write`."""
        await answered(exchange, stub.DeleteServiceAccount, pb.DeleteServiceAccountRequest(id=id))
        return Response(status_code=204)

    return router


def _account(account: pb.ServiceAccount) -> ServiceAccount:
    return ServiceAccount(
        id=account.id, name=account.name, roles=list(account.roles), created_at=account.created_at.ToDatetime(tzinfo=UTC)
    )
