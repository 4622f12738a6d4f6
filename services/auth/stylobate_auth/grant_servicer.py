"""The RPCs of grants: convert in, call the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

from stylobate.api.auth.v1 import grant_service_pb2 as pb
from stylobate.api.auth.v1.grant_service_pb2_grpc import GrantServiceServicer
from stylobate.idempotency import Idempotency
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.convert import from_grant, to_grant
from stylobate_auth.grant import Grant, GrantQuery
from stylobate_auth.grant_manager import GrantManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class GrantServicer(GrantServiceServicer):
    """Permissions on single resources."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "PutGrant": RpcAccess.AUTHENTICATED,
        "DeleteGrant": RpcAccess.AUTHENTICATED,
        "ListGrants": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: GrantManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def PutGrant(self, request: pb.PutGrantRequest, context: Any) -> pb.PutGrantResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            pb.PutGrantResponse,
            lambda claim: self._manager.put(caller.principal, from_grant(request), caller, claim),
            lambda grant: pb.PutGrantResponse(grant=to_grant(grant)),
        )

    async def DeleteGrant(self, request: pb.DeleteGrantRequest, context: Any) -> pb.DeleteGrantResponse:
        caller = call()
        like = Grant("", request.subject, request.permission, request.resource)
        return await self._once(
            request,
            caller.principal,
            pb.DeleteGrantResponse,
            lambda claim: self._manager.remove(caller.principal, like, caller, claim),
            lambda _: pb.DeleteGrantResponse(),
        )

    async def ListGrants(self, request: pb.ListGrantsRequest, context: Any) -> pb.ListGrantsResponse:
        query = GrantQuery(request.subject, request.permission, request.resource)
        found, more = await self._manager.page(
            call().principal, query, request.page_size, request.page_token, is_everyone=request.everyone
        )
        return pb.ListGrantsResponse(grants=[*map(to_grant, found)], next_page_token=more)
