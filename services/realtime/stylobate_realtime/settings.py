"""Settings of the realtime service; `STYLOBATE_REALTIME_<FIELD>` in the environment."""

from typing import ClassVar

from pydantic import Field, model_validator
from stylobate.config import Settings


class RealtimeSettings(Settings):
    """Limits and timers of connections."""

    service: ClassVar[str] = "realtime"

    allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may connect, such as `https://app.example.com`; `*`: all; none: the host that was asked.

    In development pages of this machine may always.
    """
    trusted_proxies: tuple[str, ...] = ()
    """Networks such as `10.0.0.0/8` whose `X-Forwarded-For` is believed."""
    stale_after_seconds: float = Field(10, gt=0)
    """A socket that has not connected by then is closed."""
    ping_interval_seconds: int = Field(25, ge=1)
    """Between two pings to a client."""
    pong_timeout_seconds: float = Field(8, gt=0)
    """A client that has not answered a ping by then is closed."""
    expiry_grace_seconds: float = Field(25, ge=0)
    """How long a connection outlives its token, for the client to bring a new one."""
    presence_refresh_seconds: float = Field(27, gt=0)
    """How often a connection renews its entries."""
    presence_ttl_seconds: float = Field(60, gt=0)
    """When the entries of a process that died vanish."""
    channels_per_connection: int = Field(128, gt=0)
    """Subscriptions of one connection."""
    connections_per_user: int = Field(0, ge=0)
    """Connections of one user to one process; 0: no limit."""
    frame_bytes: int = Field(65_536, ge=1024)
    """A client's message may be this long."""
    publication_bytes: int = Field(524_288, ge=1024)
    """A publication's payload may be this long."""
    queue_bytes: int = Field(1_048_576, ge=65_536)
    """A client that is behind by more is closed as slow."""
    write_timeout_seconds: float = Field(1, gt=0)
    """A client that takes nothing for so long while more than 64 KiB wait for it is closed as slow."""
    close_timeout_seconds: float = Field(5, gt=0)
    """How long a closed client may take to answer the close."""
    broker_timeout_seconds: float = Field(2, gt=0)
    """How long a subscription may wait for the broker."""
    drain_seconds: float = Field(5, ge=0)
    """At shutdown the closes are spread over at most this, 500 a second."""

    @model_validator(mode="after")
    def _check_timers(self) -> "RealtimeSettings":
        if self.pong_timeout_seconds >= self.ping_interval_seconds:
            raise ValueError("pong_timeout_seconds must be less than ping_interval_seconds")
        if self.presence_refresh_seconds >= self.presence_ttl_seconds:
            raise ValueError("presence_refresh_seconds must be less than presence_ttl_seconds")
        return self
