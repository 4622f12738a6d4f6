"""What the ratelimit service is, for whoever starts or manages it."""

from stylobate.database import MigrationSet
from stylobate.services import Imported, ServiceSpec

from stylobate_ratelimit.settings import RateLimitSettings

SPEC = ServiceSpec(
    name="ratelimit",
    settings=RateLimitSettings,
    build=Imported("stylobate_ratelimit.main:build"),
    in_memory=Imported("stylobate_ratelimit.main:build_in_memory"),
    # empty as yet, and not opened: see docs/adr/0054
    migrations=(MigrationSet.of("leases"), MigrationSet.of("outbox"), MigrationSet.of("audit")),
    grpc_port=9092,
)
