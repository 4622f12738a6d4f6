"""Settings of the gateway."""

from typing import ClassVar

from stylobate.config import Settings


class GatewaySettings(Settings):
    """``STYLOBATE_GATEWAY_<FIELD>``."""

    service: ClassVar[str] = "gateway"

    max_body_bytes: int = 1_048_576
    """A request's body may not be larger: 413 ``PAYLOAD_TOO_LARGE``."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) whose ``X-Forwarded-For`` is believed; none: the peer's address counts."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call from; in development localhost beside them."""
    edge_limits: bool = True
    """Whether requests are charged on the rules ``edge.ip`` and ``edge.user``."""
    catalogue_seconds: float = 5.0
    """How often the catalogue of actions is read again, for their routes and the OpenAPI document."""
