"""What the ratelimit service is, for whoever starts or manages it."""

from stylobate.database import MigrationSet
from stylobate.service_rights import ServiceRights
from stylobate.services import Imported, ServiceSpec

from stylobate_ratelimit.settings import RateLimitSettings

SPEC = ServiceSpec(
    name="ratelimit",
    settings=RateLimitSettings,
    build=Imported("stylobate_ratelimit.main:build"),
    in_memory=Imported("stylobate_ratelimit.main:build_in_memory"),
    # opened by a task: limits are counted without it, see docs/adr/0054
    migrations=(
        MigrationSet.of("leases"),
        MigrationSet.of("outbox"),
        MigrationSet.of("idempotency"),
        MigrationSet.of("audit"),
        MigrationSet.of("ratelimit", "stylobate_ratelimit.store"),
    ),
    audits=True,
    grpc_port=9092,
    needs=("auth",),
    calls=ServiceRights(own=frozenset({"auth.v1.ApiKeyService/GetApiKey"})),
    events=("ratelimit.ban.lifted", "ratelimit.ban.started"),
)
