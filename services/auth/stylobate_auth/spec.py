"""What the auth service is, for whoever starts or manages it."""

from stylobate.app import Imported, ServiceSpec
from stylobate.database import MigrationSet

from stylobate_auth.settings import AuthSettings

SPEC = ServiceSpec(
    name="auth",
    settings=AuthSettings,
    build=Imported("stylobate_auth.main:build"),
    migrations=(
        MigrationSet.of("leases", "stylobate.leases"),
        MigrationSet.of("outbox", "stylobate.outbox"),
        MigrationSet.of("audit", "stylobate.audit"),
        MigrationSet.of("auth", "stylobate_auth.store"),
    ),
)
