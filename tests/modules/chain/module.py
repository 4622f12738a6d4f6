"""A handler with many steps: a chain, a call for each of its links, a last change of the chain, and word of it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from stylobate.modules import ActionContext, BaseModule

LINKS = 4
_PAUSE_S = 0.02
"""Between two steps: somewhere in there a process is killed."""


@dataclass
class Chain:
    """A chain that is whole."""

    id: str
    links: list[str]


class ChainModule(BaseModule):
    """Forges."""

    async def forge(self, ctx: ActionContext, wanted: dict[str, Any]) -> Chain:
        """Make a chain."""
        chain = await ctx.state.put("chains", ctx.new_id(), {"begun": ctx.now.isoformat()} | wanted, expected_version=0)
        links = []
        for _ in range(LINKS):
            await asyncio.sleep(_PAUSE_S)
            links.append(await ctx.call("chain.weld", chain.key))
        await ctx.state.patch("chains", chain.key, {"links": links})
        await ctx.publish("chains:all", chain.key)
        await asyncio.sleep(_PAUSE_S)
        return Chain(chain.key, links)

    async def weld(self, ctx: ActionContext, chain: str) -> str:
        """Make a link of the chain."""
        return (await ctx.state.put("links", ctx.new_id(), {"chain": chain}, expected_version=0)).key
