"""What standards ask for: the keys of access tokens."""

import grpc.aio
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from stylobate.api.auth.v1.token_service_pb2 import GetJwksRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub

from stylobate_gateway.document.problems import refuses
from stylobate_gateway.schemas.catalogue import JwkSet


class _JwkSetAnswer(JSONResponse):
    media_type = "application/jwk-set+json"

    def render(self, content: bytes) -> bytes:
        """Return the keys as auth wrote them."""
        return content


def routes(auth: grpc.aio.Channel) -> APIRouter:
    """Return the routes over the channel to auth."""
    router = APIRouter()
    tokens = TokenServiceStub(auth)

    @router.get(
        "/.well-known/jwks.json",
        tags=["standards"],
        response_class=_JwkSetAnswer,
        responses={200: {"description": "The keys", "model": JwkSet}, **refuses("Site", is_public=True)},
        openapi_extra={"security": []},
    )
    async def jwks() -> _JwkSetAnswer:
        """Return the public keys of access tokens (RFC 7517)."""
        response = await tokens.GetJwks(GetJwksRequest())
        return _JwkSetAnswer(response.jwks, headers={"cache-control": "public, max-age=60"})

    return router
