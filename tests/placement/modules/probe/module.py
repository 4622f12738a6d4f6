"""Handlers that show what they see and fail as they are told; a before-hook that refuses, changes and dawdles."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from stylobate.modules import ActionContext, BaseModule, Event, HookContext


class ProbeModule(BaseModule):
    """See actions.yaml."""

    async def who(self, ctx: ActionContext) -> dict[str, str]:
        """Return the principal."""
        principal = ctx.principal
        return {"kind": principal.kind, "id": principal.id, "via": principal.via, "subject": principal.subject}

    async def ask(self, ctx: ActionContext) -> Any:
        """Return what another action says of the principal."""
        return await ctx.call("probe.who")

    async def wait(self, ctx: ActionContext) -> None:
        """Wait for what never comes."""
        await asyncio.Event().wait()

    async def half(self, ctx: ActionContext, name: str) -> None:
        """Begin a transaction and wait for what never comes."""
        async with ctx.state.transaction() as change:
            change.put("pairs", f"{name}-left", 1, expected_version=0)
            await asyncio.Event().wait()
            change.put("pairs", f"{name}-right", 1, expected_version=0)

    async def both(self, ctx: ActionContext, name: str) -> list[int]:
        """Write two objects together; return their versions."""
        async with ctx.state.transaction() as change:
            change.put("pairs", f"{name}-left", 1)
            change.put("pairs", f"{name}-right", 1)
        return [kept.version for kept in change.results]

    async def budget(self, ctx: ActionContext) -> float:
        """Return the seconds left."""
        return (ctx.deadline - ctx.now).total_seconds()

    async def hurry(self, ctx: ActionContext) -> Any:
        """Return what another action has left of this one's time."""
        return await ctx.call("probe.budget")

    async def refuse(self, ctx: ActionContext) -> None:
        """Refuse."""
        ctx.refuse("PROBE_CLOSED", "The probe is closed on Sundays.", day="Sunday", number=7)

    async def crash(self, ctx: ActionContext) -> float:
        """Divide by zero."""
        return 1 / (len(self.name) - 5)

    async def junk(self, ctx: ActionContext) -> dict[str, str]:
        """Return what the declaration does not allow."""
        return {"ok": "perhaps"}

    async def look(self, ctx: ActionContext, whom: list[str]) -> list[list[Any]]:
        """Return who they are, each alone where one is asked for."""
        found = {whom[0]: await ctx.users.get(whom[0])} if len(whom) == 1 else await ctx.users.get_many(whom)
        return [[one.id, one.is_told, one.name, one.email] for one in found.values()]

    async def note(self, ctx: ActionContext, note: dict[str, Any]) -> str:
        """Keep a note and return its key."""
        return (await ctx.state.put("notes", ctx.new_id(), note, expected_version=0)).key

    async def examine(self, ctx: HookContext, event: Event) -> dict[str, Any] | None:
        """Refuse a note that says no, dawdle over one that says wait, and sign the others."""
        note = event.value()["data"]
        if note["text"] == "no":
            ctx.refuse("NOTE_REFUSED", "No is not a note.", word="no")
        if note["text"] == "wait":
            await asyncio.Event().wait()
        return note | {"by": ctx.principal.act_for}

    async def export_user(self, ctx: HookContext, user_id: str) -> AsyncIterator[dict[str, str]]:
        """Give out who asks for whom, and refuse to give out more."""
        yield {"as": ctx.principal.id, "of": user_id}
        ctx.refuse("PROBE_CLOSED", "The probe is closed on Sundays.")
