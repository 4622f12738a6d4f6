"""What the services of a process share: declarations, verifier, permissions, servers, connections."""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio

from stylobate.app.discovery import Finder
from stylobate.app.mounts import Mounts
from stylobate.app.settings import HostSettings, Placement
from stylobate.audit import AuditChain, AuditStore
from stylobate.audit.servicer import AuditServicer
from stylobate.clients.bans import BanList
from stylobate.clients.limit_rules import LimitRules
from stylobate.config import ConfigError, Sources
from stylobate.database.listener import Listeners
from stylobate.declarations.model import Declarations
from stylobate.identity.access import Access
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.verifier import TokenVerifier
from stylobate.outbox import EventLog, EventServicer
from stylobate.redis import RedisManager
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers, idempotent_methods, open_channel
from stylobate.service_rights import EVERY_SERVICE, PACKAGE, ServiceRights
from stylobate.vault.manager import VaultManager

REDUCED_GRACE_S = 1.0
"""For calls under way, when what carries them is closed."""


class Shared:
    """What services ask their process for. The :class:`~stylobate.app.host.Host` fills, opens and closes it."""

    def __init__(self, placement: Placement, settings: HostSettings) -> None:
        self.placement = placement
        self.settings = settings
        self.declarations = Declarations()
        self.left_out: dict[str, list[str]] = {}
        """Modules that do not run, with the findings that say why."""
        self.servicers = Servicers()
        self.mounts = Mounts()
        self.verifier: TokenVerifier
        self.access: Access
        self.bans = BanList()
        """Who is banned; nobody where no ratelimit service is known."""
        self.limit_rules = LimitRules()
        self.stopping = asyncio.Event()
        """Set when balancers know that this process stops, before its listeners do: what is open without end is ended then."""
        self.sources = Sources(os.environ, ())
        """Where settings come from."""
        self.vault: VaultManager | None = None
        """The Vault of this process, where settings name one."""
        self.secret_refused: Callable[[], None] = lambda: None
        """Is called when a server refuses a secret of ours: it may have been exchanged."""
        self.trace_ratio = 0.0
        """The share of requests that begin a sampled trace; 0 when traces would go nowhere."""
        self._opened = AsyncExitStack()
        self._local_server = LocalServer(self.servicers)
        self._local = LocalChannel(self._local_server)
        self._rights: Mapping[str, ServiceRights] = {}
        self._events: EventServicer
        self._audited: AuditServicer
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._finder = Finder(settings)
        self._redis: dict[str, RedisManager] = {}
        self.listeners = Listeners()
        """The connections that listen to databases."""

    def channel(self, service: str, caller: ServiceIdentity) -> grpc.aio.Channel:
        """Return the caller's channel to a service: local when it is hosted here (the one ``if`` in the system)."""
        inner = self._local if service in self.placement.services else self._remote(service)
        return CallerChannel(inner, caller.to(service), service=service)

    def redis(self, url: str) -> RedisManager:
        """Return the process's connections to one Redis."""
        try:
            return self._redis[url]
        except KeyError:
            raise ConfigError([f"STYLOBATE_REDIS_URL: {url} was not opened at start"]) from None

    def event_log(self, log: EventLog, heard: Callable[[], None] | None = None) -> Callable[[], None]:
        """Serve the log under its source's name. What is returned wakes its readers in this process: it has grown."""
        return self._events.add(log, heard)

    def audit_records(self, service: str, store: AuditStore[Any], chain: AuditChain) -> None:
        """Serve a service's audit records to those who may read them."""
        self._audited.add(service, store, chain)

    def _remote(self, service: str) -> grpc.aio.Channel:
        """Return the process's one connection to a service elsewhere. Raises ConfigError when nobody said where."""
        if service not in self._channels:
            address = self.placement.addresses.get(service)
            if not address:
                raise ConfigError([f"STYLOBATE_{service.upper()}_ADDRESS: missing; {service} is not hosted here"])
            held = [EVERY_SERVICE, *(rights.own | rights.through for rights in self._rights.values())]
            called = {name.partition("/")[0] for names in held for name in names}
            idempotent = idempotent_methods(name for short in called for name in (short, PACKAGE + short))
            tls, mux = self.settings.tls_of_calls(), self.settings.grpc_mux
            channel = self._channels[service] = open_channel(
                address, tls=tls, idempotent=idempotent, mux=mux, whereabouts=self._finder.find(service, address)
            )
            self._opened.push_async_callback(channel.close, REDUCED_GRACE_S)
        return self._channels[service]
