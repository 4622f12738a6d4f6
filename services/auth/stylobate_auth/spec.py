"""What the auth service is, for whoever starts or manages it."""

from stylobate.database import MigrationSet
from stylobate.service_rights import ServiceRights
from stylobate.services import Imported, ServiceSpec

from stylobate_auth.settings import AuthSettings

SPEC = ServiceSpec(
    name="auth",
    settings=AuthSettings,
    build=Imported("stylobate_auth.main:build"),
    migrations=(
        MigrationSet.of("leases"),
        MigrationSet.of("outbox"),
        MigrationSet.of("idempotency"),
        MigrationSet.of("audit"),
        MigrationSet.of("encryption"),
        MigrationSet.of("auth", "stylobate_auth.store"),
    ),
    audits=True,
    grpc_port=9091,
    events=(
        "auth.api_key.changed",
        "auth.api_key.created",
        "auth.api_key.revoked",
        "auth.api_key.rotated",
        "auth.login.failed",
        "auth.grant.given",
        "auth.grant.removed",
        "auth.role.assigned",
        "auth.role.changed",
        "auth.role.created",
        "auth.role.deleted",
        "auth.role.removed",
        "auth.service_account.created",
        "auth.service_account.deleted",
        "auth.session.ended",
        "auth.session.opened",
        "auth.signing_key.rotated",
        "auth.user.changed",
        "auth.user.deleted",
        "auth.user.deleting",
        "auth.user.disabled",
        "auth.user.email_changed",
        "auth.user.email_verified",
        "auth.user.enabled",
        "auth.user.password_changed",
        "auth.user.registered",
    ),
    needs=("ratelimit", "state", "actions"),
    calls=ServiceRights(
        own=frozenset(
            {
                "actions.v1.ModuleService/ForgetUser",
                "actions.v1.UserDataService/ExportUserData",
                "audit.v1.AuditService/ListRecords",
                "ratelimit.v1.RateLimitService/GetBan",
                "state.v1.OwnedStateService/ListOwnedStates",
                "state.v1.StateKeepingService/ForgetOwner",
            }
        )
    ),
)
