"""One process of the platform: what its services share, and the order in which everything starts and stops."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from stylobate import __version__
from stylobate.api.audit.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from stylobate.api.events.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from stylobate.app.admin import AdminApplication
from stylobate.app.admin_listener import admin_listener
from stylobate.app.changes import SettingChanges
from stylobate.app.discovery import check_discovery
from stylobate.app.http_bounds import HttpBounds
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import ListenError, adopt, bind
from stylobate.app.manager import AppManager
from stylobate.app.settings import HostSettings, Placement
from stylobate.app.shared import REDUCED_GRACE_S, Shared
from stylobate.audit.servicer import AuditServicer
from stylobate.clients.bans import BanFeed
from stylobate.clients.edge import Edge
from stylobate.clients.limit_rules import LimitRules, errors_of
from stylobate.clients.limits import edge_limits
from stylobate.config import ConfigError, Settings, Sources
from stylobate.declarations import load_declarations
from stylobate.declarations.model import Severity
from stylobate.health import BoundedCheck, Health, Status, worst
from stylobate.identity.access import Access
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import KeyFolder, ServiceKeys
from stylobate.identity.stored_keys import StoredKeys
from stylobate.identity.verifier import TokenVerifier
from stylobate.logs import Logs, get_logger
from stylobate.outbox import EventServicer
from stylobate.redis import RedisManager
from stylobate.rpc import (
    GrpcServer,
    build_server,
    standard_interceptors,
)
from stylobate.rpc.call import sampled_trace
from stylobate.service_rights import OPERATOR, OPERATOR_RIGHTS
from stylobate.services import ServiceSpec
from stylobate.telemetry import configure as configure_traces
from stylobate.vault.manager import VaultManager

_log = get_logger("app")


class Host(Shared):
    """Hosts services in this process. ``async with Host.open(...) as host`` starts all and stops all in reverse."""

    def __init__(
        self, placement: Placement, settings: HostSettings, sources: Sources, logs: Logs | None, vault: VaultManager | None
    ) -> None:
        super().__init__(placement, settings)
        self.vault = vault
        self._changes = SettingChanges(settings, unused=Settings.model_fields)
        self.sources = sources
        self._logs = logs
        self._listening = AsyncExitStack()
        self._edge: Edge | None = None
        self._grpc: GrpcServer | None = None
        self._apps: list[AppManager] = []
        self._redis_checks: list[BoundedCheck] = []
        self._is_started = False
        self._is_draining = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        specs: Mapping[str, ServiceSpec],
        placement: Placement,
        settings: HostSettings,
        sources: Sources,
        logs: Logs | None = None,
        *,
        vault: VaultManager | None = None,
    ) -> AsyncIterator["Host"]:
        """Start the placement's services; on leaving, drain and stop them.

        :param vault: what the sources have from it is kept current.

        Raises ConfigError for settings that cannot be used, ListenError for a listener that cannot be had.
        """
        host = cls(placement, settings, sources, logs, vault)
        try:
            await host._start(specs)
            yield host
        finally:
            await host._stop()

    # how it is

    @property
    def is_ready(self) -> bool:
        """False only while starting, draining, behind on migrations, or without a module where modules are strict."""
        if not self._is_started or self._is_draining or (self.left_out and self._is_strict):
            return False
        return all(app.is_ready for app in self._apps)

    async def status(self) -> dict[str, Any]:
        """Return what ``/status`` shows: one entry per hosted service with its named checks."""
        healths = await asyncio.gather(*(app.health() for app in self._apps))
        services = {app.name: health for app, health in zip(self._apps, healths, strict=True)}
        identity = await self._identity_health() if self._is_started else Health(Status.UNHEALTHY, "starting")
        findings = [str(finding) for finding in self.declarations.findings]
        redis = await asyncio.gather(*(check.ask() for check in self._redis_checks))
        bans, rules, discovery = await self.bans.health(), await self.limit_rules.health(), self._finder.health()
        vault = [await self.vault.health()] if self.vault is not None else []
        parts = [*services.values(), identity, bans, rules, discovery, *redis, *vault] + (
            [Health(Status.DEGRADED)] if findings or self.left_out else []
        )
        of_vault = {"vault": vault[0].as_dict()} if vault else {}
        return {
            "node": self.placement.node,
            "version": __version__,
            "phase": self._phase,
            "ready": self.is_ready,
            "status": worst(part.status for part in parts),
            "services": {name: health.as_dict() for name, health in services.items()},
            "identity": identity.as_dict(),
            "bans": bans.as_dict(),
            "limits": rules.as_dict(),
            "discovery": discovery.as_dict() | {"found": self._finder.shown()},
            "redis": [health.as_dict() for health in redis],
            "declarations": {"digest": self.declarations.digest, "findings": findings},
            "modules": {"left_out": self.left_out, "strict": self._is_strict},
        } | of_vault

    async def _identity_health(self) -> Health:
        """Return how users' and services' tokens can be verified."""
        tokens, services = await self.verifier.health(), await self._apps[0].identity.health()
        details = "; ".join(part.details for part in (tokens, services) if part.details)
        return Health(worst((tokens.status, services.status)), details, tokens.metrics)

    @property
    def _is_strict(self) -> bool:
        strict = self.settings.modules_strict
        return not self.settings.is_development if strict is None else strict

    @property
    def _phase(self) -> str:
        if self._is_draining:
            return "draining"
        return "serving" if self._is_started else "starting"

    # start and stop

    async def settle(self) -> None:
        """Let go of what served the start alone, once it is over."""
        await asyncio.gather(*(app.settle() for app in self._apps))

    async def _start(self, specs: Mapping[str, ServiceSpec]) -> None:
        check_discovery(self.settings)
        if self.vault is not None:
            await self._opened.enter_async_context(self.vault.open())
            self.vault.on_change(self._take_changes)
            self.secret_refused = self.vault.look_soon
        traces = configure_traces(
            self.placement.node,
            self.settings.trace_endpoint,
            self.settings.trace_ratio,
            version=__version__,
            authority=self.settings.trace_authority,
        )
        self._opened.callback(traces.close)
        self._opened.push_async_callback(self._finder.close)
        self.trace_ratio = traces.ratio
        self.declarations = load_declarations(self.settings.modules)
        for finding in self.declarations.findings:
            _log.warning("declaration_finding", finding=str(finding))
        self._note_left_out()
        self._read_limits()
        for name in self.placement.services:
            specs[name].load()
        self._apps = [self._manager(specs[name]) for name in self.placement.services]
        await self._open_shared(specs)
        if self.placement.admin:
            admin, bound = AdminApplication(self, self._logs), self._bound(self.placement.admin)
            await self._listen(admin_listener(admin, bound, hosts=self.settings.admin_hosts, grace_s=self._grace_s))
        async with asyncio.TaskGroup() as group:  # when one cannot be built the others are not waited for
            for app in self._apps:
                group.create_task(app.start(), name=f"build {app.name}")
        await self._serve_grpc()
        others_serve = self.placement.http in self.placement.sockets  # meanwhile; or the queue is held open until we do
        if self.placement.http and not others_serve:
            await self._listen(self._http_listener())
        await asyncio.gather(self.verifier.ready.wait(), *(app.wait_ready() for app in self._apps))
        if others_serve:
            await self._listen(self._http_listener())
        self._is_started = True
        if self._grpc is not None:
            await self._grpc.set_serving(is_serving=self.is_ready)
            self._finder.register(self.placement.services, self.placement.grpc, self.placement.node, lambda: self.is_ready)
        if self.left_out and self._is_strict:
            _log.error("not_ready_without_modules", modules=list(self.left_out), cure="stylobate modules check")
        else:
            _log.info("ready", node=self.placement.node, services=list(self.placement.services))

    def _note_left_out(self) -> None:
        """Keep what the declarations leave out; a folder that somebody named and that is not there counts as well."""
        for name, findings in self.declarations.left_out.items():
            self.left_out[name] = [str(finding) for finding in findings]
            _log.error("module_left_out", module=name, findings=self.left_out[name])
        if self.settings.modules != HostSettings.model_fields["modules"].default:
            known = {finding for findings in self.declarations.left_out.values() for finding in findings}
            for finding in self.declarations.findings:
                if finding.severity is Severity.ERROR and finding not in known:
                    self.left_out[finding.file] = [str(finding)]

    def _read_limits(self) -> None:
        """Read the rules of limits. Raises ConfigError for mistakes of the platform's own file, alone or with the modules'."""
        file = self.settings.limits_file
        self.limit_rules = LimitRules(self.declarations, Path(file) if file else None)
        if wrong := errors_of(self.limit_rules.findings):
            raise ConfigError([f"STYLOBATE_LIMITS_FILE: {finding}" for finding in wrong])

    def _manager(self, spec: ServiceSpec) -> AppManager:
        settings = spec.settings.load(self.sources)
        skew_s = self.settings.clock_skew.total_seconds()
        return AppManager(self, spec, settings, ServiceIdentity.of(spec.name, self._keys_of(spec.name, settings), skew_s=skew_s))

    def _keys_of(self, service: str, settings: Settings) -> ServiceKeys:
        if self.settings.vault_identity and self.vault is not None:
            return StoredKeys(service, self.vault.secrets)
        folder = Path(settings.identity_folder)
        key = Path(settings.identity_private_key) if settings.identity_private_key else folder / f"{service}.pem"
        return KeyFolder(service, key, folder)

    async def _take_changes(self) -> str:
        """Have the services take what has changed in Vault; return what was not taken, and why."""
        said = []
        for kind, changes in ((type(self.settings), self._changes), *((app.spec.settings, app.changes) for app in self._apps)):
            try:
                said.append(await changes.take(kind.load(self.sources)))
            except ConfigError as error:
                said += error.findings
        return "; ".join(dict.fromkeys(part for text in said for part in text.split("; ") if part))

    async def _open_shared(self, specs: Mapping[str, ServiceSpec]) -> None:
        """Open what the services of this process share. Nothing here waits for a server."""
        enter = self._opened.enter_async_context
        identity = self._apps[0].identity
        await enter(self.limit_rules)
        for url in {app.settings.redis_url for app in self._apps}:
            self._redis[url] = await enter(RedisManager.open(url))
            self._redis_checks.append(BoundedCheck(self._redis[url].health))
        self._rights = {name: spec.calls for name, spec in specs.items()} | {OPERATOR: OPERATOR_RIGHTS}
        auth = self.channel("auth", identity)
        skew_s = self.settings.clock_skew.total_seconds()
        stale = self.settings.revocation_stale
        self.verifier = await enter(
            TokenVerifier(auth, revocation_stale=stale, skew_s=skew_s, environment=self.settings.environment)
        )
        self.access = await enter(Access(auth, self.verifier, trace=sampled_trace))
        if "ratelimit" in self.placement.services or "ratelimit" in self.placement.addresses:
            limiter = self.channel("ratelimit", identity)
            self.bans = await enter(BanFeed(limiter))
            limits = edge_limits(limiter, self.settings.limits_unreachable) if self.settings.grpc_limits else None
            self._edge = Edge(limits and await enter(limits), self.bans, self.limit_rules)
        hosted, ratio = self.placement.services, self.trace_ratio
        pipeline = standard_interceptors(
            self.verifier,
            identity,
            hosted=hosted,
            rights=self._rights,
            doors=[spec.name for spec in specs.values() if spec.http],
            edge=self._edge,
            sample_ratio=ratio,
            trust_traces=self.settings.trace_trust_clients,
        )
        self.servicers.use(pipeline)
        self._events = await enter(EventServicer.open(self._redis[self._apps[0].settings.redis_url]))
        self.servicers.register(add_EventServiceServicer_to_server, self._events)
        self._audited = AuditServicer(self.access)
        self.servicers.register(add_AuditServiceServicer_to_server, self._audited)

    async def _serve_grpc(self) -> None:
        """Listen; not before callers can be verified, which takes auth: a replica that cannot start serves nobody."""
        await self._local_server.start()
        self._listening.push_async_callback(self._local_server.stop, REDUCED_GRACE_S)
        if not self.placement.grpc:
            return
        await self.verifier.ready.wait()
        reflection = self.settings.is_development if self.settings.reflection is None else self.settings.reflection
        try:
            server = build_server(
                self.servicers,
                addresses=self.placement.grpc,
                tls=self.settings.tls(),
                reflection=reflection,
                max_connection_age=self.settings.max_connection_age,
                grace=self.settings.drain_grace,
                reuse_port=self.placement.reuse_port,
                max_streams=self.settings.grpc_streams,
                max_calls=self.settings.grpc_calls,
                edge=self._edge,
                is_mixed=self.settings.tls_mode != "require",
                mux_port=self.settings.grpc_mux_port if self.settings.grpc_mux else None,
            )
            await server.start()
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {', '.join(self.placement.grpc)}: {error}") from error
        self._grpc = server
        self._listening.push_async_callback(server.stop, self.settings.drain_grace.total_seconds())

    async def _listen(self, listener: HttpListener) -> None:
        await listener.start()
        self._listening.push_async_callback(listener.stop)

    def _http_listener(self) -> HttpListener:
        return HttpListener(
            self.mounts.application,
            self._bound(self.placement.http),
            websocket_at=self.mounts.websocket_at,
            express=self.mounts.express,
            turned_away=self.mounts.turned_away,
            tls=self.settings.http_tls(),
            grace_s=self._grace_s,
            bounds=self._bounds(),
        )

    def _bound(self, address: str) -> socket.socket:
        inherited = self.placement.sockets.get(address)
        return bind(address) if inherited is None else adopt(inherited)

    @property
    def _grace_s(self) -> float:
        return self.settings.drain_grace.total_seconds()

    def _bounds(self) -> HttpBounds:
        """Return what the HTTP port grants."""
        settings = self.settings
        return HttpBounds(
            connections=settings.http_connections,
            connections_per_address=settings.http_connections_per_address,
            head_s=settings.http_head_timeout.total_seconds(),
            body_s=settings.http_body_timeout.total_seconds(),
            write_s=settings.http_write_timeout.total_seconds(),
            keep_alive_s=settings.http_keep_alive.total_seconds(),
            held_bytes=settings.http_held_bytes,
            unsent_bytes=settings.http_unsent_bytes,
            requests=settings.http_concurrency,
            trusted_proxies=tuple(self.mounts.proxies),
        )

    async def _stop(self) -> None:
        """Say no to readiness, wait until balancers know, finish what is in flight, then close in reverse.

        Everything is closed whatever becomes of the rest: an error, or a second wish to stop, ends one part only.
        """
        async with AsyncExitStack() as parts:
            parts.push_async_callback(self._opened.aclose)
            for app in self._apps:
                parts.push_async_callback(app.close)
            parts.push_async_callback(self._listening.aclose)
            parts.callback(self.stopping.set)
            if self._is_started:
                self._is_draining = True
                _log.info("draining", wait=str(self.settings.drain_wait), grace=str(self.settings.drain_grace))
                if self._grpc is not None:
                    await self._grpc.set_serving(is_serving=False)
                await self._finder.leave()
                await asyncio.sleep(self.settings.drain_wait.total_seconds())
