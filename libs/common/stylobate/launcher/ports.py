"""Which addresses `up` uses: the ports that services name, and sockets in the run folder between the processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from stylobate.app.settings import Placement
from stylobate.services import ServiceSpec, installed_services

_GRPC, _ADMIN, _VAULT, _MONGODB = 9090, 8081, 8200, 27018
_LAST = 65_536
_REALTIME = "/v1/realtime"


@dataclass(frozen=True)
class Ports:
    """The public ports of a platform on this machine, all on the loopback interface unless ``host`` says otherwise."""

    base: int = 0
    """Ports are counted up from it, for a second platform on one machine; 0: the documented ones."""
    host: str = "127.0.0.1"
    specs: Mapping[str, ServiceSpec] = field(default_factory=installed_services)

    @property
    def shared(self) -> tuple[int, int, int]:
        """HTTP, gRPC and admin port of the whole platform."""
        if self.base:
            return self.base, self.base + 1, self.base + 2
        return self.http[self.root], _GRPC, _ADMIN

    @cached_property
    def http(self) -> dict[str, int]:
        """The HTTP port by service, where each has a process."""
        named = {name: spec.http_port for name, spec in self.specs.items() if spec.http}
        if not self.base:
            return _filled(named)
        others = sorted(named.keys() - {self.root}, key=lambda name: (named[name] or _LAST, name))
        return {self.root: self.base} | {name: self.base + 3 + place for place, name in enumerate(others)}

    @cached_property
    def grpc(self) -> dict[str, int]:
        """The gRPC port by service, where each has a process."""
        named = _filled({name: spec.grpc_port for name, spec in self.specs.items()})
        if not self.base:
            return named
        first = self.base + 2 + len(self.http)
        return {name: first + place for place, name in enumerate(sorted(named, key=named.__getitem__))}

    @property
    def vault(self) -> int:
        """The port of OpenBao, where it is embedded."""
        return self.base + 2 + len(self.http) + len(self.grpc) if self.base else _VAULT

    @property
    def mongodb(self) -> int:
        """The port of MongoDB, where it is embedded; not 27017, where one of somebody else's may listen."""
        return self.base + 3 + len(self.http) + len(self.grpc) if self.base else _MONGODB

    @property
    def root(self) -> str:
        """The service that serves what no other does."""
        return next(name for name, spec in self.specs.items() if "/" in spec.http)

    def at(self, port: int) -> str:
        """Return the address of a port."""
        return f"{self.host}:{port}"


def _filled(named: Mapping[str, int]) -> dict[str, int]:
    """Return the ports, with the next free ones for those that name none. Raises ValueError for one that two services name."""
    taken = sorted(port for port in named.values() if port)
    if twice := {port for port in taken if taken.count(port) > 1}:
        raise ValueError(f"two services name the port {min(twice)} in their specs")
    free = (port for port in range(min(taken, default=_GRPC), _LAST) if port not in {*taken, _GRPC, _ADMIN})
    return {name: port or next(free) for name, port in named.items()}


@dataclass(frozen=True, slots=True)
class Layout:
    """What processes there are and where everything answers."""

    placements: tuple[Placement, ...]
    endpoints: dict[str, str]
    mode: str


def one_process(ports: Ports, data: Path) -> Layout:
    """Host every service in the launcher's own process."""
    placement = replace(_everything(ports, data), admin=ports.at(ports.shared[2]))
    return Layout((placement,), _endpoints(ports), "one process")


def workers(ports: Ports, data: Path, run: Path, count: int) -> Layout:
    """Run N identical processes on the same ports."""
    nodes = [f"platform-{number}" for number in range(count)]
    one = replace(_everything(ports, data), reuse_port=True)
    placements = tuple(replace(one, node=node, admin=f"unix:{run}/{node}.admin") for node in nodes)
    return Layout(placements, _endpoints(ports), f"{count} workers" if count > 1 else "one process under a supervisor")


def _everything(ports: Ports, data: Path) -> Placement:
    http, grpc, _ = map(ports.at, ports.shared)
    return Placement(services=tuple(ports.specs), grpc=(grpc,), http=http, node="platform", data=data)


def split(ports: Ports, data: Path, run: Path, count: int) -> Layout:
    """Give each service its process, ``count`` of each; gRPC between them over unix sockets (TCP with several workers)."""
    shared = count > 1  # a unix socket belongs to one process
    grpc = {name: ports.at(port) for name, port in ports.grpc.items()}
    http = {name: ports.at(port) for name, port in ports.http.items()}
    target = grpc if shared else {name: f"unix:{run}/{name}.grpc" for name in ports.specs}
    placements = tuple(
        Placement(
            services=(name,),
            addresses={other: address for other, address in target.items() if other != name},
            grpc=tuple(dict.fromkeys((grpc[name], target[name]))),
            http=http.get(name, ""),
            admin=f"unix:{run}/{name}-{number}.admin",
            reuse_port=shared,
            node=f"{name}-{number}" if shared else name,
            data=data,
        )
        for name in ports.specs
        for number in range(count)
    )
    return Layout(placements, _endpoints(ports, is_split=True), f"split, {count} workers each" if shared else "split")


def _endpoints(ports: Ports, *, is_split: bool = False) -> dict[str, str]:
    http, grpc, admin = map(ports.at, ports.shared)
    sockets = next((name for name, spec in ports.specs.items() if _REALTIME in spec.http), "")
    found = {"gateway": f"http://{http}", "docs": f"http://{http}/docs"}
    if sockets:
        found["realtime"] = f"ws://{ports.at(ports.http[sockets]) if is_split else http}{_REALTIME}"
    targets = {f"grpc {name}": ports.at(port) for name, port in ports.grpc.items() if name != ports.root}
    return found | ({} if is_split else {"grpc": grpc}) | {"admin": f"http://{admin}"} | (targets if is_split else {})
