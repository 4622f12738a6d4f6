"""Where the other services are: told, looked up by name, or asked of Consul; kept while nobody can be asked."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol, TypeAlias

Places: TypeAlias = Mapping[str, int]
"""Addresses with their weights, each a target of gRPC (``ipv4:192.0.2.7:9090``). Twice the weight gets twice the calls."""


class Discovery(Protocol):
    """Finds the addresses of one service."""

    how: str
    """For people: ``told``, ``dns stylobate-state:9090``, ``consul stylobate-state``."""
    is_told: bool
    """Whether there is nothing to look up: the first answer stays."""

    def watch(self, lost: "Hint") -> AsyncIterator[Places]:
        """Yield the addresses, and again whenever they may be others; without end, unless they are told.

        :param lost: set when an address that was found does not answer any more: a reason to look before it is time.
        :raises OSError: nobody can be asked at the moment, or nobody knows the name. Whoever watches begins anew.
        """


class Hint(Protocol):
    """What is used of :class:`asyncio.Event`."""

    async def wait(self) -> object:
        """Wait until it is set."""

    def clear(self) -> None:
        """Take it back."""
