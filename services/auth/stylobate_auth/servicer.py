"""The RPCs of auth: convert in, call the manager, convert out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from stylobate.api.auth.v1 import access_service_pb2 as access
from stylobate.api.auth.v1 import access_service_pb2_grpc, auth_service_pb2_grpc, token_service_pb2_grpc
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1 import token_service_pb2 as token
from stylobate.idempotency import Idempotency
from stylobate.identity import DEFAULT_TENANT
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.account_manager import AccountManager
from stylobate_auth.convert import (
    from_checks,
    from_create,
    from_register,
    to_list_response,
    to_tokens,
    to_user,
    to_watch_response,
)
from stylobate_auth.jwt_manager import JWTManager
from stylobate_auth.password_manager import PasswordManager
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.session_manager import SessionManager

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class AuthServicer(auth_service_pb2_grpc.AuthServiceServicer):
    """Accounts and sessions."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "RegisterUser": RpcAccess.PUBLIC,
        "CreateUser": RpcAccess.AUTHENTICATED,
        "LoginUser": RpcAccess.PUBLIC,
        "RefreshSession": RpcAccess.PUBLIC,
        "LogoutSession": RpcAccess.AUTHENTICATED,
        "ChangePassword": RpcAccess.AUTHENTICATED,
        "GetMe": RpcAccess.AUTHENTICATED,
    }

    def __init__(
        self,
        accounts: AccountManager,
        passwords: PasswordManager,
        sessions: SessionManager,
        tokens: JWTManager,
        idempotency: Idempotency,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = tokens
        self._once = idempotency.once

    async def RegisterUser(self, request: auth.RegisterUserRequest, context: Any) -> auth.RegisterUserResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.RegisterUserResponse,
            lambda claim: self._accounts.register(from_register(request), caller, claim),
            lambda account: auth.RegisterUserResponse(user=to_user(account)),
        )

    async def CreateUser(self, request: auth.CreateUserRequest, context: Any) -> auth.CreateUserResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.CreateUserResponse,
            lambda claim: self._accounts.create(caller.principal, from_create(request), caller, claim),
            lambda account: auth.CreateUserResponse(user=to_user(account)),
        )

    async def LoginUser(self, request: auth.LoginUserRequest, context: Any) -> auth.LoginUserResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.LoginUserResponse,
            lambda claim: self._accounts.login(request.email, request.password, caller, claim),
            lambda result: auth.LoginUserResponse(tokens=to_tokens(result[1], self._tokens.lifetime), user=to_user(result[0])),
        )

    async def RefreshSession(self, request: auth.RefreshSessionRequest, context: Any) -> auth.RefreshSessionResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.RefreshSessionResponse,
            lambda claim: self._sessions.refresh(DEFAULT_TENANT, request.refresh_token, caller, claim),
            lambda result: auth.RefreshSessionResponse(
                tokens=to_tokens(result[1], self._tokens.lifetime), user=to_user(result[0])
            ),
        )

    async def LogoutSession(self, request: auth.LogoutSessionRequest, context: Any) -> auth.LogoutSessionResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.LogoutSessionResponse,
            lambda claim: self._sessions.logout(caller.principal, caller, claim),
            lambda _: auth.LogoutSessionResponse(),
        )

    async def ChangePassword(self, request: auth.ChangePasswordRequest, context: Any) -> auth.ChangePasswordResponse:
        caller = call()
        current, new = request.current_password, request.new_password
        return await self._once(
            request,
            caller.principal,
            auth.ChangePasswordResponse,
            lambda claim: self._passwords.change(caller.principal, current, new, caller, claim),
            lambda _: auth.ChangePasswordResponse(),
        )

    async def GetMe(self, request: auth.GetMeRequest, context: Any) -> auth.GetMeResponse:
        return auth.GetMeResponse(user=to_user(await self._accounts.me(call().principal)))


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """Keys and revocations."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "GetJwks": RpcAccess.PUBLIC,
        "WatchRevocations": RpcAccess.SERVICE,
        "ListRevocations": RpcAccess.SERVICE,
    }

    def __init__(self, tokens: JWTManager, revocations: RevocationManager) -> None:
        self._tokens = tokens
        self._revocations = revocations

    async def GetJwks(self, request: token.GetJwksRequest, context: Any) -> token.GetJwksResponse:
        return token.GetJwksResponse(jwks=self._tokens.jwks)

    async def WatchRevocations(
        self, request: token.WatchRevocationsRequest, context: Any
    ) -> AsyncIterator[token.WatchRevocationsResponse]:
        async with aclosing(self._revocations.watch()) as changes:
            async for change in changes:
                yield to_watch_response(change)

    async def ListRevocations(self, request: token.ListRevocationsRequest, context: Any) -> token.ListRevocationsResponse:
        return to_list_response(self._revocations.current())


class AccessServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Permission decisions."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"CheckAccess": RpcAccess.AUTHENTICATED}

    def __init__(self, manager: AccessManager) -> None:
        self._manager = manager

    async def CheckAccess(self, request: access.CheckAccessRequest, context: Any) -> access.CheckAccessResponse:
        return access.CheckAccessResponse(allowed=await self._manager.check(call().principal, from_checks(request)))
