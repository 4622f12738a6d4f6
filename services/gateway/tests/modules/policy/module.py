"""A module without actions, whose before-hook refuses."""

from stylobate.modules import BaseModule, Event, HookContext


class Policy(BaseModule):
    """Papers are stamped."""

    async def judge(self, ctx: HookContext, event: Event) -> None:
        """Refuse what has no stamp."""
        if "stamp" not in event.value()["data"]:
            ctx.refuse("PAPER_UNSTAMPED", "A paper needs a <stamp>.")
