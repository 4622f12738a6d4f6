"""``on``: marks a method of a module as a hook."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from stylobate.declarations.section import did_you_mean
from stylobate.outbox.pattern import EventPattern
from stylobate.services import event_sources, installed_services

Delivery = Literal["one", "each"]
Method = TypeVar("Method", bound=Callable[..., Any])

_MARK = "__stylobate_hooks__"


@dataclass(frozen=True, slots=True)
class HookMark:
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
    :raises ValueError: no service publishes such events, or an invalid delivery or priority.
    """
    if not isinstance(pattern, str):
        raise TypeError('`@on` takes the type of the events: `@on("state.orders.*")`')
    EventPattern.parse(pattern)
    if delivery not in get_args(Delivery):
        raise ValueError(f"delivery is one of {', '.join(get_args(Delivery))}, not {delivery!r}")
    if type(priority) is not int:
        raise ValueError(f"priority is a whole number, not {priority!r}")
    first, sources = pattern.partition(".")[0], event_sources()
    if first != "*" and first not in sources:
        raise ValueError(f"{pattern!r}: no service {first!r} publishes events (known: {', '.join(sources)})")

    def mark(method: Method) -> Method:
        setattr(method, _MARK, (*subscriptions_of(method), HookMark(pattern, delivery, priority)))
        return method

    return mark


def subscriptions_of(method: Any) -> tuple[HookMark, ...]:
    """Return what ``@on`` noted on the method."""
    found: tuple[HookMark, ...] = getattr(method, _MARK, ())
    return found


def event_types(namespaces: Iterable[str]) -> frozenset[str]:
    """Return every type of event that is ever published, where these state namespaces are declared.

    ``*`` stands among them for a namespace of a module that is not here: who listens to all may wait for the first.
    """
    declared = ("*", *namespaces)
    types = (event for spec in installed_services().values() for event in spec.events)
    return frozenset(event.replace("*", name) for event in types for name in declared)


def check_pattern(pattern: str, types: Collection[str]) -> None:
    """Raise TypeError, with a sentence for the author, when no event is ever of a type that the pattern means."""
    matches = EventPattern.parse(pattern).matches
    if not any(matches(known) for known in types):
        raise TypeError(f"nothing is ever published as {pattern!r}{did_you_mean(pattern, types)}")
