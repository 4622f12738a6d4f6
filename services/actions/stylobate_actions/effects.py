"""What modules have called after a change of status, as hooks on the events that tell of it."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stylobate.declarations.model import EffectDeclaration, ModuleDeclaration
from stylobate.outbox.event import Event
from stylobate.strict_json import loads


@dataclass(frozen=True, slots=True)
class Effect:
    """An action to be called for events of a namespace."""

    name: str
    """Of the hook: where it stopped is kept under it."""
    pattern: str
    action: str
    declaration: EffectDeclaration

    def fits(self, event: Event) -> bool:
        """Whether it is to be called for the event: one of its namespace's."""
        told: Any = loads(event.data)
        match self.declaration.moment:
            case "on_enter":
                is_entered = event.type.endswith((".created", ".transitioned")) and "restored_from" not in told
                return is_entered and told["status"] == self.declaration.of
            case "on_exit":
                return event.type.endswith(".transitioned") and told["from"] == self.declaration.of
            case _:
                return event.type.endswith(".transitioned") and told["event"] == self.declaration.of

    def callback(self, call: Callable[[str, str, Event], Awaitable[None]]) -> Callable[[Event], Awaitable[None]]:
        """Return the hook: calls ``call(name, action, event)`` for the events that fit."""

        async def run(event: Event) -> None:
            if self.fits(event):
                await call(self.name, self.action, event)

        return run


def effects_of(module: ModuleDeclaration) -> Iterator[Effect]:
    """Yield what the module has called."""
    for namespace in module.namespaces:
        for effect in namespace.effects:
            name = f"{module.name}.{namespace.name}.{effect.moment}.{effect.of}/{effect.action}"
            yield Effect(name, f"state.{namespace.name}.*", effect.action, effect)
