"""What the actions service is, for whoever starts or manages it."""

from stylobate.database import MigrationSet
from stylobate.service_rights import ServiceRights
from stylobate.services import Imported, ServiceSpec

from stylobate_actions.settings import ActionsSettings

SPEC = ServiceSpec(
    name="actions",
    settings=ActionsSettings,
    build=Imported("stylobate_actions.main:build"),
    in_memory=Imported("stylobate_actions.main:build_in_memory"),
    migrations=(
        MigrationSet.of("leases"),
        MigrationSet.of("audit"),
        MigrationSet.of("hooks"),
        MigrationSet.of("actions", "stylobate_actions.store"),
    ),
    module_databases="module_databases",
    audits=True,
    grpc_port=9094,
    needs=("auth", "ratelimit", "state", "realtime"),
    calls=ServiceRights(
        own=frozenset(
            {
                "auth.v1.UserDirectoryService/GetUserProfiles",
                "events.v1.EventService",
                "state.v1.StateService",
                "state.v1.ProjectionService/OpenProjection",
                "state.v1.ProjectionService/ReadViews",
                "state.v1.ProjectionService/ReadProgress",
                "state.v1.ProjectionService/ApplyEvents",
                "state.v1.ProjectionService/MoveProjection",
                "state.v1.ProjectionService/SweepProjection",
                "state.v1.ProjectionService/RebuildProjection",
                "realtime.v1.RealtimeService/Publish",
            }
        ),
        through=frozenset(
            {"auth.v1.UserDirectoryService/GetUserProfiles", "state.v1.StateService", "realtime.v1.RealtimeService/Publish"}
        ),
    ),
)
