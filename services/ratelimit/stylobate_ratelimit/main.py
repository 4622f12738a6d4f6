"""The ratelimit service: what it is built from."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import add_RateLimitServiceServicer_to_server
from stylobate.app.manager import AppManager
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.clients.limit_groups import LevelSpec
from stylobate.config import ConfigError
from stylobate.declarations import parse_rate_limit
from stylobate.declarations.model import LimitRule
from stylobate.leases import LeaseManager
from stylobate.logs import get_logger
from stylobate.outbox import Relay
from stylobate.redis import RedisManager
from stylobate.resilience import prune_forever

from stylobate_ratelimit.ban_list import BanList
from stylobate_ratelimit.ban_manager import BanManager
from stylobate_ratelimit.convert import from_level
from stylobate_ratelimit.key_limits import KeyLimits
from stylobate_ratelimit.model import Limit
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.servicer import RateLimitServicer
from stylobate_ratelimit.settings import RateLimitSettings
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.memory_bans import MemoryBanStore
from stylobate_ratelimit.store.port import BanStore, LimitStore
from stylobate_ratelimit.store.postgres import PostgresBanStore
from stylobate_ratelimit.store.redis import RedisLimitStore
from stylobate_ratelimit.store.redis_cluster import RedisClusterLimitStore
from stylobate_ratelimit.usage_manager import UsageManager

_TRY_AGAIN_S = 10.0
_log = get_logger("app")

if TYPE_CHECKING:
    from stylobate.app.memory_app import MemoryApp


async def build(app: AppManager, settings: RateLimitSettings) -> None:
    """Count in Redis; in this process while Redis is down. Bans come with the database, whenever it can be had."""
    stand_in = StandIn(MemoryLimitStore(most_subjects=settings.local_subjects), settings.on_redis_down)
    shared = limit_store(app.redis, stand_in, settings.redis_timeout)
    followed = BanList(clock=_now)
    bans = BanManager(app.access, followed)
    manager = RateLimiterManager(shared, stand_in, settings.rules, bans)
    opened: list[BanStore] = []

    async def keep_bans() -> None:
        while not opened:
            try:
                opened.append(await _open(app, settings))
            except ConfigError as error:  # limits are counted all the same, so it is said, and the health says it
                _log.error("bans_without_database", error=str(error))
                await asyncio.sleep(_TRY_AGAIN_S)
        await followed.run(opened[0])

    app.check("limits", manager.health)
    app.check("bans", followed.health)
    app.task("watch-redis", manager.watch)
    app.task("bans", keep_bans)
    app.task("automatic-bans", lambda: bans.run(manager.quiet, manager.forgive))
    usage = _usage(app, settings, manager, followed, KeyLimits(app.channel("auth")).limit)
    app.servicer(add_RateLimitServiceServicer_to_server, RateLimitServicer(manager, bans, followed, usage))


def limit_store(redis: RedisManager, stand_in: StandIn, timeout: timedelta) -> LimitStore:
    """Return the store of counts for one server or a Cluster."""
    return RedisClusterLimitStore(redis, stand_in, timeout) if redis.is_cluster else RedisLimitStore(redis, timeout)


async def _open(app: AppManager, settings: RateLimitSettings) -> BanStore:
    """Open the database and what else lives in it. Limits do not wait for it."""
    storage = await app.storage()
    leases = LeaseManager(storage.leases(), app.node)
    log = storage.event_log(app.name)
    relay = Relay(
        log,
        storage.numbering(app.name),
        leases,
        app.redis,
        retention=settings.event_retention,
        on_numbered=app.event_log(log),
    )
    store = await _store(app, storage, leases, relay.wake)
    app.task("relay", relay.run)
    app.task("prune", lambda: prune_forever(store.prune))
    app.task("idempotency", store.idempotency.run)
    app.check("relay", relay.health)
    return store


async def _store(app: AppManager, storage: Storage, leases: LeaseManager, wake: Callable[[], None]) -> BanStore:
    match storage:
        case PostgresStorage():
            audit = await app.audit_trail(storage.audit(), storage.audit_chain(app.name), leases)
            return PostgresBanStore(storage.database, storage.outbox(app.name), audit, storage.idempotency(), wake)
        case MongoStorage():
            from stylobate_ratelimit.store.mongodb import MongoBanStore  # noqa: PLC0415  its driver, for whoever has one

            trail = await app.audit_trail(storage.audit(), storage.audit_chain(app.name), leases)
            return MongoBanStore(storage.database, storage.outbox(app.name), trail, storage.idempotency(), wake)


async def build_in_memory(app: "MemoryApp") -> None:
    """Build the service for tests of modules: the same limits and bans, kept here, by the test's clock."""
    settings = RateLimitSettings()
    store = MemoryLimitStore(lambda: app.clock().timestamp(), most_subjects=settings.local_subjects)
    followed = BanList(clock=app.clock)
    followed.use(MemoryBanStore(app.clock))
    bans = BanManager(app.access, followed)
    manager = RateLimiterManager(store, StandIn(store), settings.rules, bans)
    usage = _usage(app, settings, manager, followed)
    app.servicer(add_RateLimitServiceServicer_to_server, RateLimitServicer(manager, bans, followed, usage))


def _usage(
    app: "AppManager | MemoryApp",
    settings: RateLimitSettings,
    manager: RateLimiterManager,
    bans: BanList,
    key_limit: Callable[[str], Awaitable[str]] | None = None,
) -> UsageManager:
    """Return what tells of usage: also of the limits of actions, as far as files declare them, and of the settings' rules."""
    texts = {"edge.ip": settings.edge_ip, "edge.user": settings.edge_user}
    edge = [LimitRule(name, parse_rate_limit(text, plain="gcra"), (name.removeprefix("edge."),)) for name, text in texts.items()]
    own = [
        LimitRule(action.name, action.rate_limit, ("caller",), file=action.file, line=action.line)
        for action in app.declarations.actions.values()
        if action.rate_limit is not None
    ]

    def rules() -> list[LimitRule]:
        found = app.limit_rules.plan.rules
        names = {rule.name for rule in found}
        return [*found, *own, *(rule for rule in edge if rule.name not in names)]

    def read(spec: LevelSpec) -> Limit:
        return from_level(spec.message, manager.rule)

    return UsageManager(app.access, manager, rules, read, lambda: bans.store, key_limit=key_limit)


def _now() -> datetime:
    return datetime.now(UTC)
