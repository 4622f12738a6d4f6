"""A hook: which events, what to do, how surely."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from stylobate.outbox import Event, EventPattern
from stylobate.services import event_sources

Callback = Callable[[Event], Awaitable[None]]
Delivery = Literal["one", "each"]

MAX_ATTEMPTS = 8
"""How often an event is tried before it is a dead letter. Times when the target was unavailable do not count."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Code that reacts to events."""

    name: str
    """Stands in the database for a ``one`` hook: the same name goes on where it stopped."""
    pattern: EventPattern
    callback: Callback
    delivery: Delivery
    priority: int
    sources: tuple[str, ...]
    """The logs that it reads."""
    timeout: timedelta
    """For one run; past it the run has failed."""


def sources_of(pattern: EventPattern) -> tuple[str, ...]:
    """Return the logs that events of this pattern stand in: types begin with the name of their service."""
    domain = pattern.text.partition(".")[0]
    return event_sources() if domain == "*" else (domain,)
