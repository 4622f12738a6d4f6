"""The desk: each handler does one thing right or wrong."""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from stylobate.modules import ActionContext, BaseModule, RefusedError


@dataclass
class Ticket:
    """Something to keep."""

    key: str
    text: str


@dataclass
class Gift:
    """Something that is kept for somebody."""

    key: str
    owner: str


@dataclass
class Sum:
    """What JSON has no types for."""

    amount: Decimal
    after: timedelta


class NotThereError(RefusedError, status=404):
    """A refusal with a name and a status of its own."""

    reason = "DESK_NOT_THERE"
    default_detail = "Nobody is there."


class Desk(BaseModule):
    """See each method."""

    async def echo(self, ctx: ActionContext, given: Sum) -> Sum:
        """Give back what came."""
        return given

    async def open_up(self, ctx: ActionContext) -> None:
        """Do what takes a permission."""

    async def often(self, ctx: ActionContext) -> None:
        """Do what is limited."""

    async def put(self, ctx: ActionContext, ticket: Ticket) -> int:
        """Keep what the caller sends."""
        return (await ctx.state.put("tickets", ticket.key, {"text": ticket.text})).version

    async def pad(self, ctx: ActionContext, what: str) -> Any:
        """Use what is kept for ten minutes."""
        key = "pad"
        match what:
            case "make":
                pad = await ctx.state.put("pads", key, {"text": ""}, expected_version=0)
            case "scribble":
                pad = await ctx.state.transition("pads", key, "scribble", {"text": "x"})
            case "history":
                return [entry.version async for entry in ctx.state.history("pads", key)]
            case "full":
                return [pad.data async for pad in ctx.state.list("pads", status="full")]
            case "all":
                return [[pad.status, pad.data] async for pad in ctx.state.list("pads")]
            case "together":
                async with ctx.state.transaction() as change:
                    change.put("pads", key, {"text": "y"})
                    change.put("tickets", key, {"text": "y"})
                return None
            case _:
                found = await ctx.state.get("pads", key)
                if found is None:
                    return None
                pad = found
        return [pad.status, pad.data, pad.version > 10**15]

    async def put_wrong(self, ctx: ActionContext) -> None:
        """Keep what the schema refuses."""
        await ctx.state.put("tickets", "wrong", {"txt": 1})

    async def give(self, ctx: ActionContext, gift: Gift) -> list[str | int]:
        """Keep something in another's name, and hand it over twice; say whose it was each time."""
        made = await ctx.state.put("tickets", gift.key, {"text": "x"}, owner=gift.owner)
        given = await ctx.state.assign("tickets", gift.key, "dora", expected_version=made.version)
        async with ctx.state.transaction() as change:
            change.assign("tickets", gift.key, "eve")
        (last,) = change.results
        return [made.owner, given.owner, last.owner, last.version]

    async def transact(self, ctx: ActionContext, operations: Any) -> list[Any]:
        """Do what the caller lists, all of it or nothing."""
        kept = await ctx.state.transaction(operations)
        return [[one.key, one.version, one.data, one.is_deleted] for one in kept]

    async def transact_wrong(self, ctx: ActionContext) -> None:
        """List what is none, of the module's own making."""
        wrong: Any = {"op": "merge", "namespace": "tickets", "key": "t"}
        await ctx.state.transaction([wrong])

    async def elsewhere(self, ctx: ActionContext) -> None:
        """Read from a namespace that nobody declares."""
        await ctx.state.get("tikcets", "1")

    async def publish(self, ctx: ActionContext, key: str) -> None:
        """Publish to a channel of the module."""
        await ctx.publish(f"tickets:{key}", {"key": key})

    async def astray(self, ctx: ActionContext) -> None:
        """Publish to a channel that nobody declares."""
        await ctx.publish("tikcets:1", 1)

    async def call(self, ctx: ActionContext, action: str) -> Any:
        """Call the action that the caller names."""
        return await ctx.call(action)

    async def fail(self, ctx: ActionContext) -> None:
        """Fail."""
        raise SystemExit("for good")

    async def refuse(self, ctx: ActionContext) -> None:
        """Refuse."""
        ctx.refuse("DESK_CLOSED", "Come back tomorrow.", open="tomorrow")

    async def not_there(self, ctx: ActionContext) -> None:
        """Refuse by class."""
        raise NotThereError

    async def odd(self, ctx: ActionContext) -> int:
        """Give what was not promised."""
        wrong: Any = "text"
        return 1 if ctx.deadline < ctx.now else wrong

    async def slow(self, ctx: ActionContext) -> None:
        """Take too long."""
        await asyncio.Event().wait()

    async def fail_in_task(self, ctx: ActionContext) -> None:
        """Fail in a task of its own."""
        await asyncio.gather(self.fail(ctx))

    async def interrupt_in_task(self, ctx: ActionContext) -> None:
        """Fail likewise, as Ctrl-C does."""

        async def interrupt() -> None:
            raise KeyboardInterrupt

        await asyncio.gather(interrupt())

    async def fail_in_callback(self, ctx: ActionContext) -> None:
        """Let a callback of the loop fail, which nobody waits for."""
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.sleep(0)
