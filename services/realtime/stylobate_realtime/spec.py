"""What the realtime service is, for whoever starts or manages it."""

from stylobate.database import MigrationSet
from stylobate.service_rights import ServiceRights
from stylobate.services import Imported, ServiceSpec

from stylobate_realtime.settings import RealtimeSettings

SPEC = ServiceSpec(
    name="realtime",
    settings=RealtimeSettings,
    build=Imported("stylobate_realtime.main:build"),
    in_memory=Imported("stylobate_realtime.main:build_in_memory"),
    # empty as yet, and not opened: see docs/adr/0054
    migrations=(MigrationSet.of("leases"), MigrationSet.of("outbox"), MigrationSet.of("audit")),
    grpc_port=9095,
    http=("/v1/realtime", "/connection/websocket"),
    http_port=8000,
    needs=("ratelimit", "state"),
    calls=ServiceRights(own=frozenset({"events.v1.EventService"}), through=frozenset({"state.v1.StateService/GetState"})),
)
