"""Which addresses `up` uses: the documented ports, and sockets in the run folder between the processes."""

from dataclasses import dataclass
from pathlib import Path

from stylobate.app.placement import Placement
from stylobate.launcher.project import SERVICES

GRPC_PORTS = {"auth": 9091, "ratelimit": 9092, "state": 9093, "actions": 9094, "realtime": 9095, "gateway": 9096}
_HTTP = ("gateway", "realtime")


@dataclass(frozen=True, slots=True)
class Ports:
    """The public ports of a platform on this machine, all on the loopback interface unless ``host`` says otherwise."""

    http: int = 8080
    grpc: int = 9090
    admin: int = 8081
    realtime: int = 8000
    host: str = "127.0.0.1"
    offset: int = 0
    """Added to the ports of single services under `--split`, so that two platforms fit on one machine."""

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Return ports counted up from a base: for a second platform on one machine."""
        return cls(http=base, grpc=base + 1, admin=base + 2, realtime=base + 3, offset=base + 4 - 9091)

    def of(self, service: str) -> int:
        """Return the gRPC port of a service under `--split`."""
        return GRPC_PORTS[service] + self.offset


@dataclass(frozen=True, slots=True)
class Layout:
    """What processes there are and where everything answers."""

    placements: tuple[Placement, ...]
    endpoints: dict[str, str]
    mode: str


def one_process(ports: Ports, data: Path) -> Layout:
    """Host every service in the launcher's own process."""
    placement = Placement(
        services=SERVICES,
        grpc=(f"{ports.host}:{ports.grpc}",),
        http=f"{ports.host}:{ports.http}",
        admin=f"{ports.host}:{ports.admin}",
        node="platform",
        data=data,
    )
    return Layout((placement,), _endpoints(ports), "one process")


def workers(ports: Ports, data: Path, run: Path, count: int) -> Layout:
    """Run N identical processes on the same ports."""
    placements = tuple(
        Placement(
            services=SERVICES,
            grpc=(f"{ports.host}:{ports.grpc}",),
            http=f"{ports.host}:{ports.http}",
            admin=f"unix:{run}/platform-{number}.admin",
            reuse_port=True,
            node=f"platform-{number}",
            data=data,
        )
        for number in range(count)
    )
    return Layout(placements, _endpoints(ports), f"{count} workers" if count > 1 else "one process under a supervisor")


def split(ports: Ports, data: Path, run: Path, count: int) -> Layout:
    """Give each service its process, ``count`` of each; gRPC between them over unix sockets (TCP with several workers)."""
    shared = count > 1  # a unix socket belongs to one process
    target = {name: f"{ports.host}:{ports.of(name)}" if shared else f"unix:{run}/{name}.grpc" for name in SERVICES}
    placements = tuple(
        Placement(
            services=(name,),
            addresses={other: address for other, address in target.items() if other != name},
            grpc=(f"{ports.host}:{ports.of(name)}",) if shared else (f"{ports.host}:{ports.of(name)}", target[name]),
            http=f"{ports.host}:{ports.realtime if name == 'realtime' else ports.http}" if name in _HTTP else "",
            admin=f"unix:{run}/{name}-{number}.admin",
            reuse_port=shared,
            node=f"{name}-{number}" if shared else name,
            data=data,
        )
        for name in SERVICES
        for number in range(count)
    )
    endpoints = _endpoints(ports) | {"realtime": f"ws://{ports.host}:{ports.realtime}/v1/realtime"}
    del endpoints["grpc"]
    endpoints |= {f"grpc {name}": f"{ports.host}:{ports.of(name)}" for name in SERVICES if name != "gateway"}
    return Layout(placements, endpoints, f"split, {count} workers each" if shared else "split")


def _endpoints(ports: Ports) -> dict[str, str]:
    http = f"http://{ports.host}:{ports.http}"
    return {
        "gateway": http,
        "docs": f"{http}/docs",
        "realtime": f"ws://{ports.host}:{ports.http}/v1/realtime",
        "grpc": f"{ports.host}:{ports.grpc}",
        "admin": f"http://{ports.host}:{ports.admin}",
    }
