"""``on``: marks a method of a module as a hook."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from stylobate.outbox.pattern import EventPattern

Delivery = Literal["one", "each"]
Method = TypeVar("Method", bound=Callable[..., Any])

_MARK = "__stylobate_hooks__"
SOURCES = ("state", "auth")
"""The services that keep a log of events."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One ``@on`` of one method."""

    pattern: str
    delivery: Delivery
    priority: int


def on(pattern: str, *, delivery: Delivery = "one", priority: int = 10) -> Callable[[Method], Method]:
    """Call the method, ``async def name(self, ctx: HookContext, event: Event) -> None``, for every event of a type.

    :param pattern: an event type; ``*`` stands for one segment: ``state.orders.*``.
    :param delivery: ``one``: one process of the deployment handles the event, at least once, in order per subject, also
        after an outage; a hook must therefore bear the same event (same ``event.id``) twice. ``each``: every process
        hears it, at most once, and only while it is up: for caches and sockets.
    :param priority: of several hooks of one event in one process, the lower runs first.
    :raises StylobateError: `EVENT_PATTERN_INVALID`, when the module is imported.
    :raises ValueError: no service keeps such events.
    """
    EventPattern.parse(pattern)
    first = pattern.partition(".")[0]
    if first != "*" and first not in SOURCES:
        raise ValueError(f"{pattern!r}: no service {first!r} keeps events (known: {', '.join(SOURCES)})")

    def mark(method: Method) -> Method:
        setattr(method, _MARK, (*subscriptions_of(method), Subscription(pattern, delivery, priority)))
        return method

    return mark


def subscriptions_of(method: Any) -> tuple[Subscription, ...]:
    """Return what ``@on`` noted on the method."""
    found: tuple[Subscription, ...] = getattr(method, _MARK, ())
    return found
