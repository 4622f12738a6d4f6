"""How the realtime service is put together."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import add_RealtimeServiceServicer_to_server
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.app.manager import AppManager
from stylobate.clients.edge import Edge
from stylobate.clients.limits import edge_limits
from stylobate.config import Sources
from stylobate.idempotency import Idempotency

from stylobate_realtime.broker.redis import RedisBroker
from stylobate_realtime.channels import ChannelRules
from stylobate_realtime.endpoint import protocol_class
from stylobate_realtime.kept import KeptPublications
from stylobate_realtime.loss_feed import LossFeed
from stylobate_realtime.presence.redis import RedisPresence
from stylobate_realtime.servicer import RealtimeServicer
from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.websocket_manager import WebSocketManager

if TYPE_CHECKING:
    from stylobate.app.memory_app import MemoryApp


async def build(app: AppManager, settings: RealtimeSettings) -> None:
    """Build the service."""
    limits = await app.enter(edge_limits(app.channel("ratelimit"), app.limits_unreachable))
    broker = await app.enter(RedisBroker.open(app.redis, settings.broker_timeout), name="broker")
    state: StateServiceStub = StateServiceStub(app.channel("state"))  # type: ignore[no-untyped-call,unused-ignore]  # generated
    rules = ChannelRules(app.declarations.channels, app.access, state)
    manager = await app.enter(
        WebSocketManager(
            settings=settings,
            verifier=app.verifier,
            edge=Edge(limits, app.bans, app.limit_rules),
            rules=rules,
            broker=broker,
            presence=RedisPresence(app.redis, settings.presence_ttl),
            version=app.version,
        ),
        name="websockets",
    )
    app.task("realtime-timers", manager.run_timers)
    app.task("realtime-revocations", manager.standing.run_revocations)
    app.task("realtime-keys", manager.renewal.run)
    app.task("realtime-access", manager.standing.run_changes)
    if rules.asks_state:
        events: EventServiceStub = EventServiceStub(app.channel("state"))  # type: ignore[no-untyped-call,unused-ignore]  # generated
        losses = LossFeed(events, manager.lost, manager.standing.change)
        app.task("realtime-losses", losses.run)
        app.check("losses", losses.health)
    app.websocket(protocol_class(manager), proxies=settings.trusted_proxies)
    app.servicer(add_RealtimeServiceServicer_to_server, RealtimeServicer(manager, Idempotency(broker, _now)))


async def build_in_memory(app: "MemoryApp") -> None:
    """Build the service for tests of modules: the same rules of publishing; what is taken goes to the test, not to sockets."""
    settings = RealtimeSettings.load(Sources(environ={}, folders=()))
    state: StateServiceStub = StateServiceStub(app.channel("state"))  # type: ignore[no-untyped-call,unused-ignore]  # generated
    rules = ChannelRules(app.declarations.channels, app.access, state)
    kept = KeptPublications(rules, settings.publication_bytes, app.published)
    app.servicer(add_RealtimeServiceServicer_to_server, RealtimeServicer(kept, Idempotency(kept, app.clock)))


def _now() -> datetime:
    return datetime.now(UTC)
