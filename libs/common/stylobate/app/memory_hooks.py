"""Hooks of modules under test: delivered when the test says so, one after the other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from stylobate.outbox.event import Event
from stylobate.outbox.pattern import EventPattern


@dataclass(frozen=True, slots=True)
class _Hook:
    pattern: EventPattern
    callback: Callable[[Event], Awaitable[None]]
    priority: int


class MemoryHooks:
    """Stands for :class:`stylobate.hooks.HooksManager`: no positions, no repetition; a hook that fails fails the test."""

    def __init__(self) -> None:
        self._hooks: list[_Hook] = []

    def on(self, pattern: str, callback: Callable[[Event], Awaitable[None]], *, name: str, priority: int = 10, **_: Any) -> None:
        """Call back for every event of the type."""
        del name
        self._hooks.append(_Hook(EventPattern.parse(pattern), callback, priority))
        self._hooks.sort(key=lambda hook: hook.priority)

    async def deliver(self, event: Event) -> None:
        """Run the hooks of an event, the lowest priority first."""
        for hook in self._hooks:
            if hook.pattern.matches(event.type):
                await hook.callback(event)
