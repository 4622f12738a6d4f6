"""Keys for machines: `/v1/api-keys`. Managed with an access token, never with a key."""

from datetime import UTC, datetime
from typing import Annotated, Any

import grpc.aio
import orjson
from fastapi import APIRouter, Query, Response
from google.protobuf.duration_pb2 import Duration
from stylobate.api.auth.v1 import api_key_service_pb2 as pb
from stylobate.api.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.api_keys import (
    ApiKey,
    ApiKeyCreate,
    ApiKeyIssued,
    ApiKeyList,
    ApiKeyPatch,
    ApiKeyRotate,
    KeyId,
    PublicJwk,
)
from stylobate_gateway.schemas.common import PageSize, PageToken

_WHOSE = "Whose; without it the caller's. Another's takes `api_keys:read`."
_Owner = Annotated[str, Query(max_length=36, pattern="^[0-9a-f-]*$", description=_WHOSE)]


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to auth."""
    router = area("/v1/api-keys", "accounts")
    stub = ApiKeyServiceStub(channel)

    @router.post("", status_code=201, responses=refuses("Accounts", 404, 409, has_body=True, is_change=True))
    async def create_api_key(body: ApiKeyCreate, exchange: Changing) -> ApiKeyIssued:
        """Make an API key; its text is told this once. One with a public key has none."""
        request = pb.CreateApiKeyRequest(
            name=body.name,
            scopes=body.scopes,
            allowed_cidrs=body.allowed_cidrs,
            owner=body.owner or "",
            rate_limit=body.rate_limit or "",
            public_key=_jwk(body.public_key),
        )
        if body.expires_at is not None:
            request.expires_at.FromDatetime(body.expires_at)
        return _issued(await answered(exchange, stub.CreateApiKey, request))

    @router.get("", responses=refuses("Accounts", 422))
    async def list_api_keys(owner: _Owner = "", page_size: PageSize = 50, page_token: PageToken = "") -> ApiKeyList:
        """List the API keys of an account that are not revoked."""
        response = await stub.ListApiKeys(pb.ListApiKeysRequest(owner=owner, page_size=page_size, page_token=page_token))
        return ApiKeyList(items=[*map(_api_key, response.api_keys)], next_page_token=response.next_page_token or None)

    @router.get("/{id}", responses=refuses("Accounts", 404, 422))
    async def get_api_key(id: KeyId) -> ApiKey:  # noqa: A002  the name in the path
        """Return an API key, also a revoked one."""
        return _api_key((await stub.GetApiKey(pb.GetApiKeyRequest(id=id))).api_key)

    @router.post("/{id}/rotate", status_code=201, responses=refuses("Accounts", 404, 409, has_body=True, is_change=True))
    async def rotate_api_key(id: KeyId, body: ApiKeyRotate, exchange: Changing) -> ApiKeyIssued:  # noqa: A002
        """Make the successor of an API key, which itself holds for a while."""
        request = pb.RotateApiKeyRequest(id=id, overlap=Duration(seconds=body.overlap_seconds), public_key=_jwk(body.public_key))
        return _issued(await answered(exchange, stub.RotateApiKey, request))

    @router.patch("/{id}", responses=refuses("Accounts", 404, 409, has_body=True, is_change=True))
    async def update_api_key(id: KeyId, body: ApiKeyPatch, exchange: Changing) -> ApiKey:  # noqa: A002
        """Give an API key another limit of its own, or none: it holds everywhere within a second."""
        request = pb.ChangeApiKeyLimitRequest(id=id, rate_limit=body.rate_limit or "")
        return _api_key((await answered(exchange, stub.ChangeApiKeyLimit, request)).api_key)

    @router.delete("/{id}", status_code=204, responses=refuses("Accounts", 404, is_change=True))
    async def revoke_api_key(id: KeyId, exchange: Changing) -> Response:  # noqa: A002
        """Revoke an API key: it is refused everywhere within a second."""
        await answered(exchange, stub.RevokeApiKey, pb.RevokeApiKeyRequest(id=id))
        return Response(status_code=204)

    return router


def _jwk(key: PublicJwk | None) -> str:
    return "" if key is None else key.model_dump_json(exclude_unset=True)


def _issued(response: pb.CreateApiKeyResponse | pb.RotateApiKeyResponse) -> ApiKeyIssued:
    return ApiKeyIssued(**_fields(response.api_key), key=response.key or None)


def _api_key(key: pb.ApiKey) -> ApiKey:
    return ApiKey(**_fields(key))


def _fields(key: pb.ApiKey) -> dict[str, Any]:
    def time(name: Any) -> datetime | None:
        found: datetime | None = getattr(key, name).ToDatetime(tzinfo=UTC) if key.HasField(name) else None
        return found

    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "allowed_cidrs": list(key.allowed_cidrs),
        "created_at": time("created_at"),
        "expires_at": time("expires_at"),
        "last_used_at": time("last_used_at"),
        "revoked_at": time("revoked_at"),
        "replaced_by": key.replaced_by or None,
        "rate_limit": key.rate_limit or None,
        "public_key": orjson.loads(key.public_key) if key.public_key else None,
    }
