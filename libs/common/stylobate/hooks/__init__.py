"""Hooks: code of a service that reacts to the events of others.

:class:`HooksManager` runs them. Durable ones keep their positions and dead letters in tables that come with
``MigrationSet.of("hooks", "stylobate.hooks")``; their leases need the set ``leases``.
"""

from stylobate.hooks.hook import MAX_ATTEMPTS, Callback, Delivery
from stylobate.hooks.manager import HooksManager
from stylobate.hooks.position_store import PositionStore, Standing

__all__ = ["MAX_ATTEMPTS", "Callback", "Delivery", "HooksManager", "PositionStore", "Standing"]
