"""What the state service is, for whoever starts or manages it."""

from stylobate.database import MigrationSet
from stylobate.service_rights import ServiceRights
from stylobate.services import Imported, ServiceSpec

from stylobate_state.settings import StateSettings

SPEC = ServiceSpec(
    name="state",
    settings=StateSettings,
    build=Imported("stylobate_state.main:build"),
    in_memory=Imported("stylobate_state.main:build_in_memory"),
    migrations=(
        MigrationSet.of("leases"),
        MigrationSet.of("outbox"),
        MigrationSet.of("idempotency"),
        MigrationSet.of("encryption"),
        MigrationSet.of("state", "stylobate_state.store"),
    ),
    owner_keys="owner_key",
    apart="databases",
    grpc_port=9093,
    events=(
        "state.*.created",
        "state.*.updated",
        "state.*.transitioned",
        "state.*.assigned",
        "state.*.deleted",
        "state.*.migrated",
    ),
    needs=("actions",),
    calls=ServiceRights(
        own=frozenset({"actions.v1.ModuleService/CallHook", "actions.v1.ModuleService/UpgradeStates"}),
        through=frozenset({"actions.v1.ModuleService/CallHook", "actions.v1.ModuleService/UpgradeStates"}),
    ),
)
