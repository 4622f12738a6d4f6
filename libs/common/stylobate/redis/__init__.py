"""Valkey or Redis: scripts and publications over one pipelined connection, subscriptions, and redis-py for the rest.

Faults of the server or the way to it become :class:`stylobate.errors.RedisUnavailableError`.
"""

from stylobate.redis.manager import RedisManager, Subscription
from stylobate.redis.script import Script
from stylobate.redis.slots import slot_of, spread_tags
from stylobate.redis.subscription import RedisSubscription

__all__ = ["RedisManager", "RedisSubscription", "Script", "Subscription", "slot_of", "spread_tags"]
