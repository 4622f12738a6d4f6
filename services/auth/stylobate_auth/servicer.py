"""The RPCs of auth: convert in, call the manager, convert out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from stylobate.api.auth.v1 import access_service_pb2 as access
from stylobate.api.auth.v1 import (
    access_service_pb2_grpc,
    api_key_service_pb2_grpc,
    auth_service_pb2_grpc,
    service_account_service_pb2_grpc,
    session_service_pb2_grpc,
    token_service_pb2_grpc,
)
from stylobate.api.auth.v1 import api_key_service_pb2 as api_key
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1 import service_account_service_pb2 as machine
from stylobate.api.auth.v1 import session_service_pb2 as session
from stylobate.api.auth.v1 import token_service_pb2 as token
from stylobate.idempotency import Idempotency
from stylobate.identity import DEFAULT_TENANT
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.account_manager import AccountManager
from stylobate_auth.api_key import ApiKey
from stylobate_auth.api_key_manager import ApiKeyManager
from stylobate_auth.convert import (
    from_api_key,
    from_checks,
    from_create,
    from_overlap,
    from_proofs,
    from_register,
    to_api_key,
    to_decisions,
    to_explanation,
    to_list_response,
    to_service_account,
    to_sessions,
    to_tokens,
    to_user,
    to_verified_key,
    to_watch_response,
)
from stylobate_auth.jwt_manager import JWTManager
from stylobate_auth.model import Question
from stylobate_auth.password_manager import PasswordManager
from stylobate_auth.profile_manager import ProfileManager
from stylobate_auth.refresh_manager import RefreshManager
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.service_account_manager import ServiceAccountManager
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.signing_key_manager import SigningKeyManager

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
        "RequestPasswordReset": RpcAccess.PUBLIC,
        "ResetPassword": RpcAccess.PUBLIC,
        "RequestEmailVerification": RpcAccess.AUTHENTICATED,
        "ChangeEmail": RpcAccess.AUTHENTICATED,
        "VerifyEmail": RpcAccess.PUBLIC,
        "UpdateMe": RpcAccess.AUTHENTICATED,
        "GetMe": RpcAccess.AUTHENTICATED,
    }

    def __init__(
        self,
        accounts: AccountManager,
        passwords: PasswordManager,
        profiles: ProfileManager,
        sessions: SessionManager,
        refreshes: RefreshManager,
        *,
        tokens: JWTManager,
        idempotency: Idempotency,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._profiles = profiles
        self._sessions = sessions
        self._refreshes = refreshes
        self._tokens = tokens
        self._once = idempotency.once

    async def RegisterUser(self, request: auth.RegisterUserRequest, context: Any) -> auth.RegisterUserResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.RegisterUserResponse,
            lambda claim: self._accounts.register(from_register(request), caller, claim),
            lambda account: auth.RegisterUserResponse(user=None if account is None else to_user(account)),
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
            lambda claim: self._refreshes.refresh(DEFAULT_TENANT, request.refresh_token, caller, claim),
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

    async def RequestPasswordReset(
        self, request: auth.RequestPasswordResetRequest, context: Any
    ) -> auth.RequestPasswordResetResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.RequestPasswordResetResponse,
            lambda claim: self._passwords.forgot(request.email, caller, claim),
            lambda _: auth.RequestPasswordResetResponse(),
        )

    async def ResetPassword(self, request: auth.ResetPasswordRequest, context: Any) -> auth.ResetPasswordResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.ResetPasswordResponse,
            lambda claim: self._passwords.reset(request.token, request.new_password, caller, claim),
            lambda _: auth.ResetPasswordResponse(),
        )

    async def RequestEmailVerification(
        self, request: auth.RequestEmailVerificationRequest, context: Any
    ) -> auth.RequestEmailVerificationResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.RequestEmailVerificationResponse,
            lambda claim: self._profiles.request_verification(caller.principal, caller, claim),
            lambda _: auth.RequestEmailVerificationResponse(),
        )

    async def ChangeEmail(self, request: auth.ChangeEmailRequest, context: Any) -> auth.ChangeEmailResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.ChangeEmailResponse,
            lambda claim: self._profiles.change_email(caller.principal, request.email, request.password, caller, claim),
            lambda _: auth.ChangeEmailResponse(),
        )

    async def VerifyEmail(self, request: auth.VerifyEmailRequest, context: Any) -> auth.VerifyEmailResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.VerifyEmailResponse,
            lambda claim: self._profiles.verify(request.token, caller, claim),
            lambda _: auth.VerifyEmailResponse(),
        )

    async def UpdateMe(self, request: auth.UpdateMeRequest, context: Any) -> auth.UpdateMeResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            auth.UpdateMeResponse,
            lambda claim: self._profiles.rename(caller.principal, request.display_name, caller, claim),
            lambda account: auth.UpdateMeResponse(user=to_user(account)),
        )

    async def GetMe(self, request: auth.GetMeRequest, context: Any) -> auth.GetMeResponse:
        return auth.GetMeResponse(user=to_user(await self._accounts.me(call().principal)))


class SessionServicer(session_service_pb2_grpc.SessionServiceServicer):
    """The caller's own sessions."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "ListSessions": RpcAccess.AUTHENTICATED,
        "RevokeSession": RpcAccess.AUTHENTICATED,
        "RevokeOtherSessions": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, sessions: SessionManager, idempotency: Idempotency) -> None:
        self._sessions = sessions
        self._once = idempotency.once

    async def ListSessions(self, request: session.ListSessionsRequest, context: Any) -> session.ListSessionsResponse:
        principal = call().principal
        sessions, token = await self._sessions.alive(principal, request.page_size, request.page_token)
        return session.ListSessionsResponse(sessions=await to_sessions(sessions, principal.session), next_page_token=token)

    async def RevokeSession(self, request: session.RevokeSessionRequest, context: Any) -> session.RevokeSessionResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            session.RevokeSessionResponse,
            lambda claim: self._sessions.revoke(caller.principal, request.session_id, caller, claim),
            lambda _: session.RevokeSessionResponse(),
        )

    async def RevokeOtherSessions(
        self, request: session.RevokeOtherSessionsRequest, context: Any
    ) -> session.RevokeOtherSessionsResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            session.RevokeOtherSessionsResponse,
            lambda claim: self._sessions.revoke_others(caller.principal, caller, claim),
            lambda _: session.RevokeOtherSessionsResponse(),
        )


class TokenServicer(token_service_pb2_grpc.TokenServiceServicer):
    """Keys and revocations."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "GetJwks": RpcAccess.PUBLIC,
        "WatchRevocations": RpcAccess.SERVICE,
        "ListRevocations": RpcAccess.SERVICE,
        "VerifyApiKeys": RpcAccess.SERVICE,
    }

    def __init__(self, keys: SigningKeyManager, revocations: RevocationManager, api_keys: ApiKeyManager) -> None:
        self._keys = keys
        self._revocations = revocations
        self._api_keys = api_keys

    async def GetJwks(self, request: token.GetJwksRequest, context: Any) -> token.GetJwksResponse:
        jwks, issuers = self._keys.jwks()
        return token.GetJwksResponse(jwks=jwks, issuers=issuers)

    async def WatchRevocations(
        self, request: token.WatchRevocationsRequest, context: Any
    ) -> AsyncIterator[token.WatchRevocationsResponse]:
        async with aclosing(self._revocations.watch()) as changes:
            async for change in changes:
                yield to_watch_response(change)

    async def ListRevocations(self, request: token.ListRevocationsRequest, context: Any) -> token.ListRevocationsResponse:
        return to_list_response(self._revocations.current())

    async def VerifyApiKeys(self, request: token.VerifyApiKeysRequest, context: Any) -> token.VerifyApiKeysResponse:
        found = await self._api_keys.verify(from_proofs(request))
        return token.VerifyApiKeysResponse(api_keys=[*map(to_verified_key, found)])


class AccessServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Permission decisions."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "CheckAccess": RpcAccess.AUTHENTICATED,
        "ExplainAccess": RpcAccess.AUTHENTICATED,
        "ListGranted": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: AccessManager) -> None:
        self._manager = manager

    async def CheckAccess(self, request: access.CheckAccessRequest, context: Any) -> access.CheckAccessResponse:
        return to_decisions(await self._manager.check(call().principal, from_checks(request)))

    async def ExplainAccess(self, request: access.ExplainAccessRequest, context: Any) -> access.ExplainAccessResponse:
        principal = call().principal
        return to_explanation(await self._manager.explain(principal, request.subject, request.permission, request.resource))

    async def ListGranted(self, request: access.ListGrantedRequest, context: Any) -> access.ListGrantedResponse:
        question = Question(request.subject, request.permission, request.tenant or DEFAULT_TENANT)
        asked = (call().principal, question, request.under, request.page_size, request.page_token)
        found, more = await self._manager.granted(*asked)
        return access.ListGrantedResponse(resources=found, next_page_token=more)


class ApiKeyServicer(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """API keys."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "CreateApiKey": RpcAccess.AUTHENTICATED,
        "ListApiKeys": RpcAccess.AUTHENTICATED,
        "GetApiKey": RpcAccess.AUTHENTICATED,
        "RotateApiKey": RpcAccess.AUTHENTICATED,
        "ChangeApiKeyLimit": RpcAccess.AUTHENTICATED,
        "RevokeApiKey": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: ApiKeyManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def CreateApiKey(self, request: api_key.CreateApiKeyRequest, context: Any) -> api_key.CreateApiKeyResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            api_key.CreateApiKeyResponse,
            lambda claim: self._manager.create(caller.principal, from_api_key(request), caller, claim),
            lambda made: api_key.CreateApiKeyResponse(api_key=self._api_key(made[0]), key=made[1]),
        )

    async def ListApiKeys(self, request: api_key.ListApiKeysRequest, context: Any) -> api_key.ListApiKeysResponse:
        found, more = await self._manager.of_account(call().principal, request.owner, request.page_size, request.page_token)
        return api_key.ListApiKeysResponse(api_keys=[*map(self._api_key, found)], next_page_token=more)

    async def GetApiKey(self, request: api_key.GetApiKeyRequest, context: Any) -> api_key.GetApiKeyResponse:
        return api_key.GetApiKeyResponse(api_key=self._api_key(await self._manager.get(call().principal, request.id)))

    async def RotateApiKey(self, request: api_key.RotateApiKeyRequest, context: Any) -> api_key.RotateApiKeyResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            api_key.RotateApiKeyResponse,
            lambda claim: self._manager.rotate(
                caller.principal, request.id, from_overlap(request), caller, claim, public_key=request.public_key
            ),
            lambda made: api_key.RotateApiKeyResponse(api_key=self._api_key(made[0]), key=made[1]),
        )

    async def ChangeApiKeyLimit(
        self, request: api_key.ChangeApiKeyLimitRequest, context: Any
    ) -> api_key.ChangeApiKeyLimitResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            api_key.ChangeApiKeyLimitResponse,
            lambda claim: self._manager.limit(caller.principal, request.id, request.rate_limit, caller, claim),
            lambda changed: api_key.ChangeApiKeyLimitResponse(api_key=self._api_key(changed)),
        )

    async def RevokeApiKey(self, request: api_key.RevokeApiKeyRequest, context: Any) -> api_key.RevokeApiKeyResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            api_key.RevokeApiKeyResponse,
            lambda claim: self._manager.revoke(caller.principal, request.id, caller, claim),
            lambda _: api_key.RevokeApiKeyResponse(),
        )

    def _api_key(self, key: ApiKey) -> api_key.ApiKey:
        return to_api_key(key, self._manager.prefix(key))


class ServiceAccountServicer(service_account_service_pb2_grpc.ServiceAccountServiceServicer):
    """Service accounts."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "CreateServiceAccount": RpcAccess.AUTHENTICATED,
        "ListServiceAccounts": RpcAccess.AUTHENTICATED,
        "DeleteServiceAccount": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, manager: ServiceAccountManager, idempotency: Idempotency) -> None:
        self._manager = manager
        self._once = idempotency.once

    async def CreateServiceAccount(
        self, request: machine.CreateServiceAccountRequest, context: Any
    ) -> machine.CreateServiceAccountResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            machine.CreateServiceAccountResponse,
            lambda claim: self._manager.create(caller.principal, request.name, request.roles, caller, claim),
            lambda account: machine.CreateServiceAccountResponse(service_account=to_service_account(account)),
        )

    async def ListServiceAccounts(
        self, request: machine.ListServiceAccountsRequest, context: Any
    ) -> machine.ListServiceAccountsResponse:
        found, more = await self._manager.page(call().principal, request.page_size, request.page_token)
        return machine.ListServiceAccountsResponse(service_accounts=[*map(to_service_account, found)], next_page_token=more)

    async def DeleteServiceAccount(
        self, request: machine.DeleteServiceAccountRequest, context: Any
    ) -> machine.DeleteServiceAccountResponse:
        caller = call()
        return await self._once(
            request,
            caller.principal,
            machine.DeleteServiceAccountResponse,
            lambda claim: self._manager.delete(caller.principal, request.id, caller, claim),
            lambda _: machine.DeleteServiceAccountResponse(),
        )
