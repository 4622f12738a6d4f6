"""Settings of the realtime service; `STYLOBATE_REALTIME_<FIELD>` in the environment."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field, model_validator
from stylobate.config import Settings
from stylobate.value_kinds import Network, Origin


class RealtimeSettings(Settings):
    """Limits and timers of connections."""

    service: ClassVar[str] = "realtime"

    allowed_origins: tuple[Origin, ...] = ()
    """Origins whose pages may connect, such as `https://app.example.com`; `*`: all; none: the host that was asked.

    In development pages of this machine may always.
    """
    trusted_proxies: tuple[Network, ...] = ()
    """Networks such as `10.0.0.0/8` whose `X-Forwarded-For` is believed."""
    stale_after: timedelta = Field(timedelta(seconds=10), gt=timedelta(0))
    """A socket that has not connected by then is closed."""
    ping_interval: timedelta = Field(timedelta(seconds=25), ge=timedelta(seconds=1))
    """Between two pings to a client; whole seconds."""
    pong_timeout: timedelta = Field(timedelta(seconds=8), gt=timedelta(0))
    """A client that has not answered a ping by then is closed."""
    expiry_grace: timedelta = Field(timedelta(seconds=25), ge=timedelta(0))
    """How long a connection outlives its token, for the client to bring a new one."""
    presence_refresh: timedelta = Field(timedelta(seconds=27), gt=timedelta(0))
    """How often a connection renews its entries."""
    presence_ttl: timedelta = Field(timedelta(seconds=60), gt=timedelta(0))
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
    unsent_bytes: int = Field(16_777_216, ge=65_536)
    """Answers that may wait for all clients together that are behind by more than 64 KiB; beyond it these are closed as slow."""
    message_timeout: timedelta = Field(timedelta(seconds=30), gt=timedelta(0))
    """A message that a client begins must have come whole by then."""
    write_timeout: timedelta = Field(timedelta(seconds=1), gt=timedelta(0))
    """A client that takes nothing for so long while more than 64 KiB wait for it is closed as slow."""
    close_timeout: timedelta = Field(timedelta(seconds=5), gt=timedelta(0))
    """How long a closed client may take to answer the close."""
    broker_timeout: timedelta = Field(timedelta(seconds=2), gt=timedelta(0))
    """How long a subscription may wait for the broker."""
    drain: timedelta = Field(timedelta(seconds=5), ge=timedelta(0))
    """At shutdown the closes are spread over at most this, 500 a second."""

    @model_validator(mode="after")
    def _check_timers(self) -> "RealtimeSettings":
        if self.ping_interval % timedelta(seconds=1):
            raise ValueError("ping_interval must be whole seconds")
        if self.pong_timeout >= self.ping_interval:
            raise ValueError("pong_timeout must be less than ping_interval")
        if self.presence_refresh >= self.presence_ttl:
            raise ValueError("presence_refresh must be less than presence_ttl")
        return self
