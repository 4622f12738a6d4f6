"""An action of each kind of access, with a limit of its own."""

from stylobate.modules import ActionContext, BaseModule


class MeterModule(BaseModule):
    """Counts how often it was read."""

    reads = 0

    async def read(self, ctx: ActionContext) -> int:
        """Return the number of the reading."""
        self.reads += 1
        return self.reads

    async def read_one(self, ctx: ActionContext, asked: dict[str, int] | None) -> int:
        """Return the number of the reading."""
        return await self.read(ctx)
