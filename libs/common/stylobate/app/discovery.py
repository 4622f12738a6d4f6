"""How a process finds the services that it does not host, and lets itself be found."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from stylobate.config import ConfigError, Settings, secret
from stylobate.discovery import Discovery
from stylobate.discovery.names import SystemNames, Told
from stylobate.discovery.target import Target, port_of
from stylobate.discovery.whereabouts import INTERRUPTED, Whereabouts
from stylobate.health import Health, Status
from stylobate.resilience import Interruption
from stylobate.stopping import end
from stylobate.value_kinds import HttpUrl

if TYPE_CHECKING:
    from stylobate.discovery.consul_agent import ConsulAgent, ConsulRegistration, Entry

_TTL_LEAST = timedelta(seconds=3)


class DiscoverySettings(Settings):
    """How services find each other: ``STYLOBATE_DISCOVERY``, ``STYLOBATE_CONSUL_…``."""

    discovery: Literal["static", "dns", "consul"] = "dns"
    """Where a service is whose `STYLOBATE_<SERVICE>_ADDRESS` is not set. dns: at `dns:///stylobate-<service>:9090`; consul: at
    `consul:///stylobate-<service>`, and this process registers itself; static: nowhere, each must be told. `up` tells all."""
    dns_server: str = ""
    """The DNS server that is asked for names, in place of the system's resolver: `192.0.2.53`, `127.0.0.1:8600`."""
    consul_url: HttpUrl = "http://127.0.0.1:8500"
    """The Consul agent of this machine."""
    consul_token: str = secret(generate=False)
    """Of its ACL: `service:write` for the services of this process, `service:read` and `node:read` for those it calls."""
    consul_authority: str = ""
    """PEM file that an `https://` agent's certificate is checked against; empty: the system's authorities."""
    consul_prefix: str = Field("stylobate-", pattern=r"[a-z0-9-]*")
    """What stands before the name of a service in Consul."""
    consul_advertise: str = ""
    """Where others reach the gRPC port of this process: `192.0.2.7`, `192.0.2.7:9090`; empty: the address of its host's name."""
    consul_ttl: timedelta = Field(default=timedelta(seconds=15), ge=_TTL_LEAST)
    """After which Consul takes a process for dead that has not said otherwise; it does so three times as often. At least 3 s."""
    consul_weight: int = Field(1, ge=1, le=65_535)
    """The share of the calls that this process gets, beside others of the same service."""

    @field_validator("dns_server")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        if text:
            from stylobate.discovery.dns_server import server_of  # noqa: PLC0415  dnspython takes a tenth of a second

            server_of(text)
        return text


class Finder:
    """Finds services by their targets; ``consul:`` needs `py-consul`, which is imported when it is used."""

    def __init__(self, settings: DiscoverySettings) -> None:
        self._settings = settings
        self._known: dict[str, Whereabouts] = {}
        self._consul_away = Interruption(INTERRUPTED)
        self._agent: ConsulAgent | None = None
        self._registration: ConsulRegistration | None = None
        self._keeping: asyncio.Task[None] | None = None

    def find(self, service: str, address: str) -> Whereabouts:
        """Return where a service is. Raises ConfigError for an address that cannot be used."""
        try:
            target = Target.of(address)
            found = Whereabouts(service, self._discovery(target), self._consul_away if target.scheme == "consul" else None)
        except (OSError, ValueError) as error:
            raise ConfigError([f"STYLOBATE_{service.upper()}_ADDRESS: {error}"]) from None
        self._known[service] = found
        return found

    def _discovery(self, target: Target) -> Discovery:
        if target.scheme == "consul":
            from stylobate.discovery.consul_agent import ConsulService  # noqa: PLC0415  an extra

            return ConsulService(self._consul(), target.authority)
        if _needs_us(target, self._settings.dns_server):
            from stylobate.discovery.dns_server import DnsServer  # noqa: PLC0415  dnspython takes a tenth of a second

            return DnsServer(target, self._settings.dns_server)
        return Told(target) if target.fixed else SystemNames(target)

    def _consul(self) -> "ConsulAgent":
        if self._agent is None:
            settings = self._settings
            from stylobate.discovery.consul_agent import ConsulAgent  # noqa: PLC0415  an extra

            try:
                self._agent = ConsulAgent(settings.consul_url, settings.consul_token, settings.consul_authority)
            except OSError as error:
                raise ConfigError([f"STYLOBATE_CONSUL_AUTHORITY: {settings.consul_authority}: {error}"]) from None
        return self._agent

    # letting itself be found

    def register(self, services: tuple[str, ...], grpc: tuple[str, ...], node: str, is_ready: Callable[[], bool]) -> None:
        """Begin to let others find this process, where that is Consul's. Raises ConfigError for an address that is none."""
        if self._settings.discovery != "consul" or not grpc:
            return
        from stylobate.discovery.consul_agent import ConsulRegistration  # noqa: PLC0415  an extra

        host, port = self._advertised(grpc)
        entries = tuple(self._entry(service, node, host, port) for service in services)
        self._registration = ConsulRegistration(self._consul(), entries, self._settings.consul_ttl, is_ready)
        self._keeping = asyncio.create_task(self._registration.keep(), name="consul registration")

    def _entry(self, service: str, node: str, host: str, port: int) -> "Entry":
        from stylobate.discovery.consul_agent import Entry  # noqa: PLC0415  an extra

        name = self._settings.consul_prefix + service
        return Entry(name, f"{name}-{node}", host, port, self._settings.consul_weight)

    def _advertised(self, grpc: tuple[str, ...]) -> tuple[str, int]:
        """Return the address that others reach the gRPC port at."""
        told = self._settings.consul_advertise
        listening = next((address for address in grpc if not address.startswith("unix:")), "")
        port = port_of(told) or port_of(listening)
        host = (told.rpartition(":")[0] if port_of(told) and told.count(":") == 1 else told) or socket.gethostname()
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0], port  # type: ignore[return-value]  # a string
        except OSError as error:
            raise ConfigError([f"STYLOBATE_CONSUL_ADVERTISE: no address of {host} is known: {error}"]) from None

    async def leave(self) -> None:
        """Let nobody find this process any more."""
        if self._keeping is not None:
            await end([self._keeping])
        if self._registration is not None:
            await self._registration.leave()

    # how it is

    def shown(self) -> dict[str, Any]:
        """Return each service that this process calls elsewhere: how it is looked for, its addresses, what is wrong."""
        return {service: known.shown() for service, known in sorted(self._known.items())}

    def health(self) -> Health:
        """Degraded while what was found may be out of date, or others may not find this process."""
        causes: dict[str, list[str]] = {}
        for service, known in sorted(self._known.items()):
            if known.found.trouble:
                causes.setdefault(known.found.trouble, []).append(service)
        troubles = []
        for cause, services in causes.items():
            kept = sum(len(self._known[name].found.places) for name in services)
            what = f"the {kept} addresses known before are used" if kept else "no address is known yet"
            troubles.append(f"{', '.join(services)}: {cause}; {what}")
        if self._registration is not None and self._registration.trouble:
            troubles.append(f"not registered: {self._registration.trouble}")
        return Health(Status.DEGRADED if troubles else Status.HEALTHY, "; ".join(troubles))

    async def close(self) -> None:
        """Look no more."""
        async with AsyncExitStack() as parts:
            if self._agent is not None:
                parts.push_async_callback(self._agent.close)
            await end([task for known in self._known.values() if (task := known.close()) is not None])


def check_discovery(settings: DiscoverySettings) -> None:
    """Raise ConfigError where what it needs is not installed."""
    if settings.discovery == "consul" and find_spec("consul") is None:
        raise ConfigError(["STYLOBATE_DISCOVERY: consul needs py-consul, which is missing: pip install 'stylobate[consul]'"])


def default_address(discovery: str, service: str, prefix: str) -> str:
    """Return where a service is that nobody told of; empty: nowhere."""
    return {"dns": f"dns:///stylobate-{service}:9090", "consul": f"consul:///{prefix}{service}"}.get(discovery, "")


def _needs_us(target: Target, dns_server: str) -> bool:
    return target.scheme in {"srv", "consul"} or (target.scheme == "dns" and bool(dns_server))
