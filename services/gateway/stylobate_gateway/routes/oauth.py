"""OAuth 2.0: `/oauth2`, and its metadata. Forms come in, and refusals have the shape of RFC 6749."""

from base64 import b64decode
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import grpc.aio
import orjson
from fastapi import APIRouter, Request, Response
from stylobate.api.auth.v1 import oauth_service_pb2 as pb
from stylobate.api.auth.v1.oauth_service_pb2_grpc import OAuthServiceStub
from stylobate.errors import StylobateError
from stylobate.identity.public_key import ALGORITHMS

from stylobate_gateway.document.answers import Responses, refuses
from stylobate_gateway.document.oauth import FORM, answers, takes
from stylobate_gateway.errors import RouteNotFoundError
from stylobate_gateway.routes.late import LateRoute
from stylobate_gateway.schemas.oauth import (
    ASSERTION_TYPE,
    OAuthMetadata,
    OAuthToken,
    OAuthTokenEnded,
    OAuthTokenFacts,
    OAuthTokenForm,
    OAuthTokenQuestion,
)

_CODES = "OAUTH_"
_MOST_FIELDS = 32
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_UNAUTHORIZED, _TOO_MANY = 401, 429
METADATA = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
"""The second one for proxies that only want ``jwks_uri``; we are not an OpenID provider."""


class _RefusedError(Exception):
    """A request that is refused before auth is asked."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def routes(auth: grpc.aio.Channel, public_url: str) -> APIRouter:
    """Return the routes. They read their forms themselves: RFC 6749 says how, and how they refuse."""
    router = APIRouter(tags=["oauth"], route_class=LateRoute, generate_unique_id_function=lambda route: route.name)
    stub: Any = OAuthServiceStub(auth)

    @router.post("/oauth2/token", responses=answers(OAuthToken, "A token"), openapi_extra=takes(OAuthTokenForm))
    async def issue_token(request: Request) -> Response:
        """Issue an access token (RFC 6749)."""
        return await _answered(_issue(stub, request))

    @router.post(
        "/oauth2/introspect",
        responses=answers(OAuthTokenFacts, "What the client may know of it"),
        openapi_extra=takes(OAuthTokenQuestion),
    )
    async def introspect_token(request: Request) -> Response:
        """Tell how a token stands (RFC 7662)."""
        return await _answered(_introspect(stub, request))

    @router.post("/oauth2/revoke", responses=answers(OAuthTokenEnded, "It is over"), openapi_extra=takes(OAuthTokenQuestion))
    async def revoke_token(request: Request) -> Response:
        """End a token (RFC 7009)."""
        return await _answered(_revoke(stub, request))

    async def oauth_metadata() -> Response:
        """Return what OAuth 2.0 there is (RFC 8414)."""
        if not public_url:
            raise RouteNotFoundError("OAuth 2.0 metadata needs STYLOBATE_PUBLIC_URL, which is not set.")
        return Response(document, media_type="application/json", headers={"cache-control": "public, max-age=300"})

    document = orjson.dumps(_metadata(public_url))
    described: Responses = {200: {"model": OAuthMetadata, "description": "The endpoints"}, **refuses("Site", 404, is_public=True)}
    for path in METADATA:
        router.add_api_route(
            path,
            oauth_metadata,
            methods=["GET"],
            include_in_schema=path is METADATA[0],
            response_model=None,
            responses=described,
            openapi_extra={"security": []},
        )
    return router


def _metadata(url: str) -> dict[str, Any]:
    methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
    return {
        "issuer": url,
        "token_endpoint": f"{url}/oauth2/token",
        "introspection_endpoint": f"{url}/oauth2/introspect",
        "revocation_endpoint": f"{url}/oauth2/revoke",
        "jwks_uri": f"{url}/.well-known/jwks.json",
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported": [*methods, "none"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": [*methods, "none"],
        "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
    }


async def _issue(stub: Any, request: Request) -> Mapping[str, Any]:
    form = await _form(request)
    issued = await stub.IssueToken(
        pb.IssueTokenRequest(
            grant_type=form.get("grant_type", ""),
            client=_client(request, form),
            scope=form.get("scope", ""),
            refresh_token=form.get("refresh_token", ""),
        )
    )
    found: dict[str, Any] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in.seconds,
    }
    if issued.scope:
        found["scope"] = issued.scope
    if issued.refresh_token:
        found["refresh_token"] = issued.refresh_token
    return found


async def _introspect(stub: Any, request: Request) -> Mapping[str, Any]:
    form = await _form(request)
    asked = pb.IntrospectTokenRequest(client=_client(request, form), token=form.get("token", ""))
    answer = await stub.IntrospectToken(asked)
    return {"active": True, **orjson.loads(answer.claims)} if answer.active else {"active": False}


async def _revoke(stub: Any, request: Request) -> Mapping[str, Any]:
    form = await _form(request)
    await stub.RevokeToken(pb.RevokeTokenRequest(client=_client(request, form), token=form.get("token", "")))
    return {}


async def _answered(work: Awaitable[Mapping[str, Any]]) -> Response:
    try:
        return _json(200, await work)
    except _RefusedError as refused:
        return _json(401 if refused.code == "invalid_client" else 400, {"error": refused.code, "error_description": str(refused)})
    except StylobateError as error:
        code, status = "invalid_request", error.http_status
        if error.reason.startswith(_CODES):
            code, status = error.reason.removeprefix(_CODES).lower(), status if status == _UNAUTHORIZED else 400
        elif error.http_status >= 500 or error.http_status == _TOO_MANY:  # noqa: PLR2004  a fault of ours
            code = "temporarily_unavailable"
        headers = {} if error.retry_after is None else {"retry-after": str(max(1, round(error.retry_after.total_seconds())))}
        return _json(status, {"error": code, "error_description": error.detail}, headers)


def _json(status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    fields = {**_NO_STORE, **(headers or {})}
    if status == _UNAUTHORIZED:
        fields["www-authenticate"] = 'Basic realm="stylobate"'
    return Response(orjson.dumps(content), status, fields, media_type="application/json")


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form; none may stand twice (RFC 6749 §3.2)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise _RefusedError("invalid_request", f"The body must be {FORM}.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise _RefusedError("invalid_request", "The form cannot be read.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _RefusedError("invalid_request", "A parameter stands twice.")
    return form


def _client(request: Request, form: Mapping[str, str]) -> pb.OAuthClient:
    """Return who asks: by the header or by the form, never by both (RFC 6749 §2.3)."""
    id, secret = form.get("client_id", ""), form.get("client_secret", "")  # noqa: A001  OAuth's word
    header = request.headers.get("authorization")
    if "client_assertion" in form or "client_assertion_type" in form:
        if secret or header is not None:
            raise _RefusedError("invalid_request", "The client proves itself twice.")
        if form.get("client_assertion_type") != ASSERTION_TYPE or not form.get("client_assertion"):
            raise _RefusedError("invalid_client", f"client_assertion_type must be {ASSERTION_TYPE}, beside client_assertion.")
        return pb.OAuthClient(id=id, assertion=form["client_assertion"])
    if header is None:
        return pb.OAuthClient(id=id, secret=secret)
    if secret:
        raise _RefusedError("invalid_request", "The client proves itself twice.")
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        name, _, password = b64decode(encoded.strip(), validate=True).decode("ascii").partition(":")
    except ValueError:
        raise _RefusedError("invalid_client", "Authorization must have the form `Basic <id and secret>`.") from None
    name, password = unquote_plus(name), unquote_plus(password)
    if id and id != name:
        raise _RefusedError("invalid_request", "The client is named twice.")
    return pb.OAuthClient(id=name, secret=password)
