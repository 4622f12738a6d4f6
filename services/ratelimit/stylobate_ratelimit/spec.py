"""What the ratelimit service is, for whoever starts or manages it."""

from stylobate.services import Imported, ServiceSpec

from stylobate_ratelimit.settings import RateLimitSettings

SPEC = ServiceSpec(
    name="ratelimit",
    settings=RateLimitSettings,
    build=Imported("stylobate_ratelimit.main:build"),
    in_memory=Imported("stylobate_ratelimit.main:build_in_memory"),
    grpc_port=9092,
)
