"""Accounts and sessions: `/v1/auth`."""

from datetime import UTC
from typing import Annotated, Any

import grpc.aio
from fastapi import APIRouter, Header, Request, Response
from pydantic.json_schema import SkipJsonSchema
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from stylobate_gateway.browser_sessions import BrowserSessions
from stylobate_gateway.document.answers import Responses, refuses
from stylobate_gateway.errors import BrowserSessionsOffError, InvalidHeaderError
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.accounts import (
    BrowserSession,
    Login,
    Refresh,
    Register,
    Registered,
    Session,
    User,
)

_COOKIE = "cookie"
SessionMode = Annotated[
    str | SkipJsonSchema[None],
    Header(
        alias="X-Session-Mode",
        description="`cookie`: the tokens are HttpOnly cookies, for an application in a browser.",
        json_schema_extra={"enum": [_COOKIE]},
    ),
]
NO_TOKEN: dict[str, Any] = {"security": []}
OPEN = {"is_public": True, "has_body": True, "is_change": True}
_BY_MAIL: Responses = {202: {"description": "Registration is `verified`: a mail says the rest."}}


def routes(channel: grpc.aio.Channel, browsers: BrowserSessions | None = None) -> APIRouter:
    """Return the area's routes over the channel to auth.

    :param browsers: sessions in cookies; None: none are given.
    """
    router = area("/v1/auth", "accounts")
    stub = AuthServiceStub(channel)

    @router.post(
        "/register",
        status_code=201,
        responses=_BY_MAIL | refuses("Accounts", 403, **OPEN),
        openapi_extra=NO_TOKEN,
        response_model=Registered,
    )
    async def register(body: Register, exchange: Changing) -> Registered | Response:
        """Create an account."""
        request = auth.RegisterUserRequest(email=body.email, password=body.password, display_name=body.display_name)
        response = await answered(exchange, stub.RegisterUser, request)
        return Registered(user=user_of(response.user)) if response.HasField("user") else Response(status_code=202)

    @router.post("/login", responses=refuses("Accounts", 401, **OPEN), openapi_extra=NO_TOKEN)
    async def login(body: Login, exchange: Changing, session_mode: SessionMode = None) -> Session | BrowserSession:
        """Open a session; with `X-Session-Mode: cookie` its tokens are cookies, and not in the answer."""
        giving = _giving(session_mode, browsers)
        request = auth.LoginUserRequest(email=body.email, password=body.password)
        response = await answered(exchange, stub.LoginUser, request)
        if giving is None:
            return _session(response.tokens, response.user)
        csrf = await giving.grant(exchange, response.tokens)
        return BrowserSession(csrf_token=csrf, expires_in=response.tokens.expires_in.seconds, user=user_of(response.user))

    @router.post("/refresh", responses=refuses("Accounts", 401, **OPEN), openapi_extra=NO_TOKEN)
    async def refresh(body: Refresh, exchange: Changing) -> Session:
        """Exchange a refresh token for new tokens; within 5 s it gives the same next one, later its use ends the session."""
        request = auth.RefreshSessionRequest(refresh_token=body.refresh_token)
        response = await answered(exchange, stub.RefreshSession, request)
        return _session(response.tokens, response.user)

    @router.post("/logout", status_code=204, responses=refuses("Accounts", is_change=True))
    async def logout(exchange: Changing) -> Response:
        """End the session: its tokens are refused everywhere within a second."""
        await answered(exchange, stub.LogoutSession, auth.LogoutSessionRequest())
        if browsers is not None:
            browsers.logged_out(exchange)
        return Response(status_code=204)

    @router.get("/me", responses=refuses("Accounts", 422))
    async def me(request: Request) -> User:
        """Return the account of the token."""
        if browsers is not None:
            browsers.tell(request.scope["stylobate"])
        return user_of((await stub.GetMe(auth.GetMeRequest())).user)

    return router


def _giving(mode: str | None, browsers: BrowserSessions | None) -> BrowserSessions | None:
    """Return what gives a login's cookies; None: it gets tokens. Raises InvalidHeaderError, BrowserSessionsOffError."""
    if mode is None:
        return None
    if mode != _COOKIE:
        raise InvalidHeaderError(f"X-Session-Mode must be `{_COOKIE}`, or be left out.")
    if browsers is None:
        raise BrowserSessionsOffError
    return browsers


def user_of(user: auth.User) -> User:
    """Return an account as its owner sees it."""
    return User(
        id=user.id,
        email=user.email,
        display_name=user.display_name,
        roles=list(user.roles),
        email_verified=user.email_verified,
        created_at=user.created_at.ToDatetime(tzinfo=UTC),
    )


def _session(tokens: auth.Tokens, user: auth.User) -> Session:
    return Session(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=tokens.expires_in.seconds,
        user=user_of(user),
    )
