"""What a session's client is called for people: `Firefox on Linux`, out of what it called itself.

The rules are those of the uap project, as ua-parser has them; they are loaded when the first session is shown (0.1 s, 6 MB).
"""

import asyncio
from collections.abc import Iterable
from functools import lru_cache

_MOST_KNOWN, _LONGEST = 2048, 64
_SYSTEMS = {"Mac OS X": "macOS"}
"""Systems that people know by another name."""


async def devices_of(agents: Iterable[str]) -> dict[str, str]:
    """Return what clients are called, by their user agents; empty for one that tells nothing.

    In a thread: one that was not seen before takes a millisecond.
    """
    asked = {*agents}
    return await asyncio.to_thread(lambda: {agent: device_of(agent) for agent in asked}) if asked else {}


@lru_cache(_MOST_KNOWN)
def device_of(agent: str) -> str:
    """Return what a client is called; empty where its user agent tells nothing."""
    from ua_parser import parse_os, parse_user_agent  # noqa: PLC0415  most processes never need it

    program, system = parse_user_agent(agent), parse_os(agent)
    on = "" if system is None else _SYSTEMS.get(system.family, system.family)
    name = program.family if program is not None else agent.partition("/")[0].split(" ")[0][:_LONGEST]
    return f"{name} on {on}" if name and on else name or on
