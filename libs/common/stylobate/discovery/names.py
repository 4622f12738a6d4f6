"""Addresses that are told, and those that the system finds for a name."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

from stylobate.discovery import Hint, Places
from stylobate.discovery.target import Target, address_of

TOLD = "told"
LOOK_S = 10.0
"""After which a name is looked up again; sooner, yet not within a tenth of it, when an address was lost."""


class Told:
    """Addresses that stand in a setting."""

    how = TOLD
    is_told = True

    def __init__(self, target: Target) -> None:
        self._places = dict.fromkeys(target.fixed, 1)

    async def watch(self, lost: Hint) -> AsyncIterator[Places]:  # noqa: ARG002  there is nowhere else to look
        """Yield them once."""
        yield self._places


class SystemNames:
    """Every address that the system's resolver has for a name: of a headless service, each replica's."""

    is_told = False

    def __init__(self, target: Target) -> None:
        self._target = target
        self.how = f"dns {target.authority}"

    async def watch(self, lost: Hint) -> AsyncIterator[Places]:
        """Yield them now and whenever it is time."""
        loop = asyncio.get_running_loop()
        while True:
            lost.clear()
            found = await loop.getaddrinfo(self._target.name, self._target.port, type=socket.SOCK_STREAM)
            yield {address_of(str(place[0]), int(place[1])): 1 for *_, place in found}
            await asyncio.sleep(LOOK_S / 10)
            await wait_for_hint(lost, LOOK_S)


async def wait_for_hint(lost: Hint, most_s: float) -> None:
    """Wait until it is time to look again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await lost.wait()
