"""What the realtime service is, for whoever starts or manages it."""

from stylobate.app import Imported, ServiceSpec

from stylobate_realtime.settings import RealtimeSettings

SPEC = ServiceSpec(
    name="realtime",
    settings=RealtimeSettings,
    build=Imported("stylobate_realtime.main:build"),
    in_memory=Imported("stylobate_realtime.main:build_in_memory"),
)
