"""Registering the hooks of modules with whoever delivers events."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from stylobate.modules.events import Delivery
from stylobate.modules.loaded import LoadedModule
from stylobate.outbox.event import Event

from stylobate_actions.hook_runner import HookRunner

_SLACK = timedelta(seconds=5)


class EventHooks(Protocol):
    """Delivers events; :class:`stylobate.hooks.HooksManager` does."""

    def on(
        self,
        pattern: str,
        callback: Callable[[Event], Awaitable[None]],
        *,
        name: str,
        priority: int,
        delivery: Delivery,
        timeout: timedelta,
    ) -> Any:
        """Call back for every event of a type."""


def register_hooks(hooks: EventHooks, modules: Iterable[LoadedModule], runner: HookRunner, timeout: timedelta) -> None:
    """Register every ``@on`` of the modules.

    :param timeout: of one run; the runner keeps to it, whoever delivers gets a little more and should never need it.
    """
    for module in modules:
        for hook in module.hooks:
            hooks.on(
                hook.subscription.pattern,
                partial(runner.handle, module, hook),
                name=hook.name,
                priority=hook.subscription.priority,
                delivery=hook.subscription.delivery,
                timeout=timeout + _SLACK,
            )
