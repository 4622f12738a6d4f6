"""Hooks: code of a service that reacts to the events of others.

:class:`HooksManager` runs them. Durable ones keep their positions and dead letters in a :class:`HookStore`; PostgreSQL's tables
come with ``MigrationSet.of("hooks", "stylobate.hooks")``; their leases need the set ``leases``.
"""

from stylobate.hooks.manager import HooksManager
from stylobate.hooks.port import HookStanding
from stylobate.hooks.runs import Patience

__all__ = ["HookStanding", "HooksManager", "Patience"]
