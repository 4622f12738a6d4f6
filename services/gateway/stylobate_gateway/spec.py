"""What the gateway service is, for whoever starts or manages it."""

from stylobate.service_rights import ServiceRights
from stylobate.services import Imported, ServiceSpec

from stylobate_gateway.settings import GatewaySettings

SPEC = ServiceSpec(
    name="gateway",
    settings=GatewaySettings,
    build=Imported("stylobate_gateway.main:build"),
    grpc_port=9096,
    http=("/",),
    http_port=8080,
    needs=("auth", "ratelimit", "state", "actions"),
    calls=ServiceRights(
        own=frozenset({"actions.v1.ActionService/ListActions"}),
        through=frozenset(
            {
                "state.v1.StateService",
                "actions.v1.ActionService",
                "actions.v1.ModuleService/ListModules",
                *(f"ratelimit.v1.RateLimitService/{name}Ban" for name in ("Put", "Delete", "Get")),
                "ratelimit.v1.RateLimitService/ListBans",
                "ratelimit.v1.RateLimitService/GetUsage",
                "ratelimit.v1.RateLimitService/ResetUsage",
                "audit.v1.AuditService/ListRecords",
                "auth.v1.TokenService/GetJwks",
                "auth.v1.OAuthService",
                "auth.v1.AuthService/RegisterUser",
                "auth.v1.AuthService/LoginUser",
                "auth.v1.AuthService/RefreshSession",
                "auth.v1.AuthService/LogoutSession",
                "auth.v1.AuthService/GetMe",
                "auth.v1.SessionService",
                "auth.v1.AuthService/ChangePassword",
                "auth.v1.ApiKeyService",
                "auth.v1.AccessService/ExplainAccess",
                "auth.v1.FirstAdminService/CreateFirstAdmin",
                "auth.v1.GrantService",
                "auth.v1.RoleService",
                "auth.v1.ServiceAccountService",
                "auth.v1.UserExportService",
                "auth.v1.UserService",
                "auth.v1.AuthService/RequestPasswordReset",
                "auth.v1.AuthService/ResetPassword",
                "auth.v1.AuthService/RequestEmailVerification",
                "auth.v1.AuthService/ChangeEmail",
                "auth.v1.AuthService/VerifyEmail",
                "auth.v1.AuthService/UpdateMe",
            }
        ),
    ),
)
