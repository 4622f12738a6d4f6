"""The ratelimit service: what it is built from."""

from typing import TYPE_CHECKING

from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import add_RateLimitServiceServicer_to_server
from stylobate.app.manager import AppManager

from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.servicer import RateLimitServicer
from stylobate_ratelimit.settings import RateLimitSettings
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.redis import RedisLimitStore

if TYPE_CHECKING:
    from stylobate.app.memory_app import MemoryApp


async def build(app: AppManager, settings: RateLimitSettings) -> None:
    """Count in Redis; in this process while Redis is down."""
    shared = RedisLimitStore(app.redis, timeout=settings.redis_timeout)
    local = MemoryLimitStore(most_subjects=settings.local_subjects)
    manager = RateLimiterManager(shared, local, settings.rules, settings.on_redis_down)
    app.check("limits", manager.health)
    app.task("watch-redis", manager.watch)
    app.servicer(add_RateLimitServiceServicer_to_server, RateLimitServicer(manager))


async def build_in_memory(app: "MemoryApp") -> None:
    """Build the service for tests of modules: the same limits, counted here, by the test's clock."""
    settings = RateLimitSettings()
    store = MemoryLimitStore(lambda: app.clock().timestamp(), most_subjects=settings.local_subjects)
    manager = RateLimiterManager(store, store, settings.rules)
    app.servicer(add_RateLimitServiceServicer_to_server, RateLimitServicer(manager))
