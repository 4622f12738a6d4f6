"""What the ratelimit service is, for whoever starts or manages it."""

from stylobate.database import MigrationSet
from stylobate.services import Imported, ServiceSpec

from stylobate_ratelimit.settings import RateLimitSettings

SPEC = ServiceSpec(
    name="ratelimit",
    settings=RateLimitSettings,
    build=Imported("stylobate_ratelimit.main:build"),
    in_memory=Imported("stylobate_ratelimit.main:build_in_memory"),
    migrations=(  # empty as yet, and not opened: see docs/adr/0054
        MigrationSet.of("leases", "stylobate.leases"),
        MigrationSet.of("outbox", "stylobate.outbox"),
        MigrationSet.of("audit", "stylobate.audit"),
    ),
    grpc_port=9092,
)
