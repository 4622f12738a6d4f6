"""What the actions service is, for whoever starts or manages it."""

from stylobate.app import Imported, ServiceSpec
from stylobate.database import MigrationSet

from stylobate_actions.settings import ActionsSettings

SPEC = ServiceSpec(
    name="actions",
    settings=ActionsSettings,
    build=Imported("stylobate_actions.main:build"),
    in_memory=Imported("stylobate_actions.main:build_in_memory"),
    migrations=(
        MigrationSet.of("leases", "stylobate.leases"),
        MigrationSet.of("audit", "stylobate.audit"),
        MigrationSet.of("hooks", "stylobate.hooks"),
    ),
)
