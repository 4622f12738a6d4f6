"""What a process is told, whatever services it hosts: its settings, and its place among the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from ssl import SSLContext
from typing import Literal

from pydantic import Field, field_validator

from stylobate.app.discovery import DiscoverySettings
from stylobate.config import ConfigError, secret
from stylobate.logs import parse_levels
from stylobate.tls import TlsSettings
from stylobate.value_kinds import HostName, HttpUrl, LongSecret, OnUnreachable, Share
from stylobate.vault.settings import VaultSettings


class HostSettings(DiscoverySettings, VaultSettings):
    """What every process of the platform may be told: ``STYLOBATE_<FIELD>``."""

    log_level: str = "info"
    """debug, info, warning or error; some loggers apart: ``info,access=warning``."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto: readable on a terminal, JSON elsewhere."""
    trace_endpoint: HttpUrl = ""
    """OTLP gRPC endpoint such as ``http://localhost:4317``; empty: traces are propagated and not exported."""
    trace_authority: str = ""
    """File of the certificates that an ``https://`` collector's own is held against; empty: those of the machine."""
    trace_ratio: Share = 0.01
    """Share of requests that begin a sampled trace, 0 to 1."""
    trace_trust_clients: bool = False
    """Whether a client's ``traceparent`` decides if its request is sampled; else the ratio does, and the trace id is kept."""
    drain_wait: timedelta = timedelta(seconds=5)
    """On SIGTERM: how long readiness says no before listeners close, so that balancers notice."""
    drain_grace: timedelta = timedelta(seconds=10)
    """How long what is in flight may take to finish."""
    grpc_limits: bool = True
    """Whether gRPC calls without a service's token are charged on ``edge.ip`` and ``edge.user``, as HTTP requests are."""
    limits_file: str = ""
    """The platform's own rules of limits, in the form of a module's `limits.yaml`; empty: `edge.ip` and `edge.user` alone."""
    limits_unreachable: OnUnreachable = OnUnreachable.OPEN
    """What holds at the doors while the ratelimit service cannot be asked. open: everything passes; local: each process counts by
    itself; closed: everything is refused. Actions have `STYLOBATE_ACTIONS_LIMITS_ON_UNREACHABLE`."""
    grpc_streams: int = Field(1024, gt=0)
    """Calls that a gRPC connection may have under way, streams among them; further ones wait at the caller."""
    grpc_calls: int = Field(8192, gt=0)
    """Calls that the gRPC port may have under way, also those whose request has not come yet; more are refused at once."""
    grpc_mux: bool = True
    """Whether calls between two processes share a stream, which costs a tenth of the CPU; else each is a gRPC call of its own."""
    grpc_mux_port: int = Field(0, ge=0, le=65_535)
    """Where this process takes such streams, beside its gRPC port, which tells its clients; 0: any free port."""
    max_connection_age: timedelta = Field(default=timedelta(seconds=30), ge=timedelta(seconds=1))
    """After which gRPC clients have to connect anew, and so find new replicas; at least 1 s."""
    clock_skew: timedelta = Field(default=timedelta(seconds=30), ge=timedelta(0), le=timedelta(minutes=2))
    """How far the clocks of two machines may differ before they refuse each other's tokens; at most 2 minutes."""
    revocation_stale: Literal["allow", "deny"] = "allow"
    """What holds when the deny-list could not be refreshed for 30 s."""
    reflection: bool | None = None
    """gRPC reflection; None: in development only."""
    modules_strict: bool | None = None
    """Whether a process is not ready while a module is left out; None: everywhere but in development."""
    backup_key: LongSecret = secret(generate=False)
    """What `stylobate backup` encrypts with and `stylobate restore` opens: at least 32 characters of secret text. Empty: a backup
    is not encrypted."""
    tls_certificate: str = ""
    """PEM file of this process's certificate; empty: plain text between services."""
    tls_key: str = ""
    """PEM file of its private key."""
    tls_authority: str = ""
    """PEM file of the authority that peers' certificates must come from; set: mutual TLS."""
    tls_mode: Literal["require", "prefer", "accept"] = "require"
    """How TLS is turned on without a pause, where a certificate is set. accept: this process takes calls with TLS and without,
    and makes its own without; prefer: it takes both, and makes its own with TLS; require: nothing goes without."""
    http_tls_certificate: str = ""
    """PEM file of the certificate of the HTTP port, with its chain; empty: plain text, for a proxy in front that ends TLS."""
    http_tls_key: str = ""
    """PEM file of its private key."""
    http_connections: int = Field(8192, gt=0)
    """Open connections of the HTTP port, WebSockets among them; more are answered with 503 and closed.

    Where the file descriptors of the process allow fewer, fewer are granted.
    """
    http_connections_per_address: int = Field(1024, gt=0)
    """Of them from one address (of IPv6: one /64). Trusted proxies are not held to it."""
    http_head_timeout: timedelta = Field(timedelta(seconds=10), gt=timedelta(0))
    """In which the head of a request must arrive, from its first byte; of the first request, from the connection."""
    http_body_timeout: timedelta = Field(timedelta(seconds=30), gt=timedelta(0))
    """In which a body must end, or make progress: 512 bytes a second on average."""
    http_write_timeout: timedelta = Field(timedelta(seconds=30), gt=timedelta(0))
    """In which a client must take its answer, or as much of it as 512 bytes a second make."""
    http_keep_alive: timedelta = Field(timedelta(seconds=75), gt=timedelta(0))
    """How long a connection may be idle between two requests; longer than the balancer in front keeps it."""
    http_held_bytes: int = Field(8_388_608, ge=1_048_576)
    """Memory for all requests that are still arriving; above it, connections of the address that holds most get 503 first."""
    http_unsent_bytes: int = Field(16_777_216, ge=1_048_576)
    """Memory for all answers that clients do not take; above it, connections of the address that holds most are cut off first."""
    http_concurrency: int | None = Field(None, gt=0)
    """Requests that are worked on at a time; others wait up to a second, then they are answered with 503.

    None: as many as keep the event loop in time.
    """
    admin_hosts: tuple[HostName, ...] = ()
    """Names that the admin port answers to beside loopback names and addresses, such as `stylobate-gateway.shop.svc`."""

    @field_validator("trace_authority")
    @classmethod
    def _holds_certificates(cls, file: str) -> str:
        if file and (wrong := TlsSettings(authority=Path(file)).findings()):
            raise ValueError(wrong[0])
        return file

    @field_validator("log_level")
    @classmethod
    def _names_levels(cls, text: str) -> str:
        parse_levels(text)
        return text

    def tls(self) -> TlsSettings | None:
        """Return what services prove themselves with to each other; None: plain text. Raises ConfigError for unfit files."""
        return self._files("tls_certificate", "tls_key", "tls_authority")

    def tls_of_calls(self) -> TlsSettings | None:
        """Return what this process's own calls are made with; None: plain text. Raises ConfigError for unfit files."""
        return None if self.tls_mode == "accept" else self.tls()

    def http_tls(self) -> SSLContext | None:
        """Return what the HTTP port serves with; None: plain text. Raises ConfigError for unfit files."""
        files = self._files("http_tls_certificate", "http_tls_key")
        return None if files is None else files.server_context("http/1.1")

    def _files(self, certificate: str, key: str, authority: str = "") -> TlsSettings | None:
        """Return the files that these settings name; None: no certificate is named. Raises ConfigError for unfit ones."""
        if not getattr(self, certificate):
            return None
        files = {name: Path(path) for name in (certificate, key, authority) if name and (path := getattr(self, name))}
        missing = [f"STYLOBATE_{name.upper()}: {path} is not a file" for name, path in files.items() if not path.is_file()]
        if key not in files:
            missing.append(f"STYLOBATE_{key.upper()}: missing; a certificate needs its private key")
        if missing:
            raise ConfigError(missing)
        made = TlsSettings(files.get(authority), files[certificate], files[key])
        if wrong := made.findings():
            prefix = certificate.removesuffix("certificate").upper()
            raise ConfigError([f"STYLOBATE_{prefix}{name}" for name in wrong])
        return made


@dataclass(frozen=True, slots=True)
class Placement:
    """What one process hosts, listens on, and where the others are: the deploy-time choice that no caller can see."""

    services: tuple[str, ...]
    """Hosted here."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """gRPC targets of services hosted elsewhere: ``unix:/run/auth.sock``, ``dns:///stylobate-auth:9090``."""
    grpc: tuple[str, ...] = ()
    """gRPC listeners: ``127.0.0.1:9090``, ``unix:/run/auth.sock``."""
    http: str = ""
    """HTTP and WebSocket listener ``host:port``; empty: none."""
    admin: str = ""
    """Admin listener ``host:port`` or ``unix:/path``; empty: none."""
    reuse_port: bool = False
    """Whether other processes listen on the same gRPC ports (workers)."""
    sockets: Mapping[str, int] = field(default_factory=dict)
    """Descriptors of sockets that the launcher listens on, by address: they outlive this process, so no connection is refused
    or cut off while it is replaced."""
    node: str = "node"
    """Name of this process, unique among those that run at a time; holders of leases and realtime nodes carry it."""
    data: Path | None = None
    """The `.stylobate` folder in development: generated secrets and identities."""
