"""Where services run: the deploy-time choice that no caller can see."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Placement:
    """What one process hosts, listens on, and where the others are."""

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
