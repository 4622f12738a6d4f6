"""Settings of the gateway."""

from typing import ClassVar

from pydantic import Field
from stylobate.config import Settings
from stylobate.value_kinds import HostName, Network, Origin


class GatewaySettings(Settings):
    """``STYLOBATE_GATEWAY_<FIELD>``."""

    service: ClassVar[str] = "gateway"

    max_body_bytes: int = Field(default=1_048_576, ge=1)
    """A request's body may not be larger: 413 ``PAYLOAD_TOO_LARGE``. For accounts (``/v1/auth/…``) it is 16 KiB at most."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks (CIDR) whose ``X-Forwarded-For`` is believed; none: the peer's address counts."""
    cors_origins: tuple[Origin, ...] = ()
    """Origins that browsers may call from; in development localhost beside them."""
    browser_sessions: bool = True
    """Whether a login may ask for its tokens as cookies (`X-Session-Mode: cookie`), and cookies say who asks."""
    hosts: tuple[HostName, ...] = ()
    """In development: names that the gateway answers to beside loopback names, addresses and names without a dot."""
    edge_limits: bool = True
    """Whether requests are charged on the rules ``edge.ip`` and ``edge.user``."""
    compress_bytes: int = Field(default=4096, ge=0)
    """Answers of as many bytes or more are compressed (gzip) for clients that take it; 0: none are."""
    express: bool = True
    """Whether calls of actions by name, and reads of one object, that hold nothing unusual are answered without ASGI. It costs
    half and changes nothing."""
    catalogue_seconds: float = Field(default=5.0, gt=0, le=3600)
    """How often the catalogue of actions is read again, for their routes and the OpenAPI document. Where it is left as it
    is, in development twice a second."""
    open_catalogue: bool = True
    """Whether everyone may see what there is to call: `/docs`, `/openapi.json`, `/v1/actions` with their schemas. When false, the
    document and the catalogue need a token, and there is no `/docs`."""
    watches: int = Field(default=768, ge=1)
    """Watches of state (`GET …/watch`) that may be open in one process: 503 ``WATCHES_FULL`` beyond it. Each is a stream to the
    state service, of which a connection takes `STYLOBATE_GRPC_STREAMS`."""
