"""Keeps letters and bills in namespaces, and who recommended whom beside them."""

from collections.abc import AsyncIterator
from typing import Any

from stylobate.modules import ActionContext, BaseModule, HookContext


class People(BaseModule):
    """See states.yaml."""

    def configure(self) -> None:
        """Know of nobody yet."""
        self.recommended: dict[str, list[str]] = {}

    async def write(self, ctx: ActionContext) -> str:
        """Keep a letter and its bill; return their key."""
        key = ctx.new_id()
        await ctx.state.put("letters", key, {"text": "Dear", "stamp": 3, "weight": 20})
        await ctx.state.put("bills", key, {"total": 5})
        return key

    async def recommend(self, ctx: ActionContext, whom: str) -> None:
        """Remember that the caller thinks well of somebody."""
        self.recommended.setdefault(whom, []).append(ctx.principal.subject)

    async def who(self, ctx: ActionContext, whom: list[str]) -> list[list[Any]]:
        """Tell who they are; one alone must be there."""
        if len(whom) == 1:
            found = {whom[0]: await ctx.users.get(whom[0])}
        else:
            found = await ctx.users.get_many(whom)
        return [[one.id, one.is_told, one.name, one.email] for one in found.values()]

    async def export_user(self, ctx: HookContext, user_id: str) -> AsyncIterator[dict[str, Any]]:
        """Give out how often somebody was recommended, and not by whom; refuse for who asked for silence."""
        if user_id == "silent":
            ctx.refuse("ASKED_FOR_SILENCE", "Nothing is said.")
        if found := self.recommended.get(user_id):
            yield {"recommended": len(found), "as_of": ctx.now}

    async def delete_user(self, ctx: HookContext, user_id: str) -> None:
        """Forget somebody."""
        self.recommended.pop(user_id, None)
