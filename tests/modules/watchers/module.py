"""An action that writes state, and eight durable hooks that hear of it."""

from collections.abc import Awaitable, Callable
from typing import Any

from stylobate.modules import ActionContext, BaseModule, Event, HookContext, on

HOOKS = 8


class WatchersModule(BaseModule):
    """Writes; its hooks have nothing to do."""

    async def touch(self, ctx: ActionContext, body: dict[str, Any]) -> dict[str, int]:
        """Write the object and return its version."""
        return {"version": (await ctx.state.put("things", body["key"], {})).version}


def _watcher(number: int) -> Callable[[WatchersModule, HookContext, Event], Awaitable[None]]:
    async def watch(_self: WatchersModule, _ctx: HookContext, _event: Event) -> None:
        """Hear of it."""

    watch.__name__ = f"watch_{number}"
    return on("state.things.*")(watch)


for _number in range(HOOKS):
    setattr(WatchersModule, f"watch_{_number}", _watcher(_number))
