"""The RPCs of OAuth 2.0."""

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
from stylobate.api.auth.v1 import oauth_service_pb2 as pb
from stylobate.api.auth.v1 import oauth_service_pb2_grpc
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.convert import to_duration
from stylobate_auth.oauth_manager import Client, OAuthManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class OAuthServicer(oauth_service_pb2_grpc.OAuthServiceServicer):
    """OAuth 2.0. Clients prove themselves by what stands in the request."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "IssueToken": RpcAccess.PUBLIC,
        "IntrospectToken": RpcAccess.PUBLIC,
        "RevokeToken": RpcAccess.PUBLIC,
    }

    def __init__(self, manager: OAuthManager) -> None:
        self._manager = manager

    async def IssueToken(self, request: pb.IssueTokenRequest, context: Any) -> pb.IssueTokenResponse:
        client = _client(request.client)
        issued = await self._manager.issue(request.grant_type, client, request.scope, request.refresh_token, call())
        return pb.IssueTokenResponse(
            access_token=issued.access_token,
            expires_in=to_duration(issued.lifetime),
            scope=issued.scope,
            refresh_token=issued.refresh_token,
        )

    async def IntrospectToken(self, request: pb.IntrospectTokenRequest, context: Any) -> pb.IntrospectTokenResponse:
        found = await self._manager.introspect(_client(request.client), request.token, call())
        if found is None:
            return pb.IntrospectTokenResponse(active=False)
        return pb.IntrospectTokenResponse(active=True, claims=orjson.dumps(found))

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        await self._manager.revoke(_client(request.client), request.token, call())
        return pb.RevokeTokenResponse()


def _client(message: pb.OAuthClient) -> Client:
    return Client(message.id, message.secret, message.assertion)
