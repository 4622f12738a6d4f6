"""Plain gRPC to addresses that gRPC cannot look up by itself."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio

from stylobate.discovery import Places
from stylobate.discovery.whereabouts import Whereabouts
from stylobate.rpc.method import ClientChannel, Decode, Encode

_LEAVE_S = 60.0
"""For streams on a channel whose addresses are no longer those of the service: longer than servers keep a connection."""


class FollowingChannel(ClientChannel):
    """Has a channel to the addresses of the moment; when they change, calls go by a new one, and those under way end on the old.

    :param open_channel: opens a channel to a target.
    """

    def __init__(self, whereabouts: Whereabouts, open_channel: Callable[[str], grpc.aio.Channel]) -> None:
        self._open = open_channel
        self._leaving: set[asyncio.Task[None]] = set()
        # gRPC fails its calls at once, as those to an address where nobody is, and says the name
        self.current = open_channel(f"unix:no-address-of-{whereabouts.service}-is-known-yet")
        whereabouts.listen(self._move)

    def _move(self, places: Places) -> None:
        old, self.current = self.current, self._open(target_of(places))
        task = asyncio.get_running_loop().create_task(old.close(_LEAVE_S))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def method(self, name: str, encode: Encode, decode: Decode, *, is_stream: bool) -> Any:
        """Return what calls a method at whoever is there at the time."""
        return _Method(self, name, encode, decode, is_stream=is_stream)

    async def close(self, grace: float | None = None) -> None:
        """Close every channel; calls under way are given that long, in seconds."""
        leaving = tuple(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(self.current.close(grace), *leaving, return_exceptions=True)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel of the moment."""
        return self.current.get_state(try_to_connect=try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state of the channel of the moment is another one."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel of the moment is connected."""
        await self.current.channel_ready()


class _Method:
    """Calls one method by the channel of the moment."""

    def __init__(self, channel: FollowingChannel, name: str, encode: Encode, decode: Decode, *, is_stream: bool) -> None:
        self._channel, self._form, self._is_stream = channel, (name, encode, decode), is_stream
        self._by: grpc.aio.Channel | None = None
        self._call: Any = None

    def __call__(self, request: Any, **options: Any) -> Any:
        current = self._channel.current
        if self._by is not current:
            make = current.unary_stream if self._is_stream else current.unary_unary
            self._by, self._call = current, make(*self._form)
        return self._call(request, **options)


def target_of(places: Places) -> str:
    """Return the target of gRPC that stands for all of them, in one family: the larger one, IPv4 where they are equal."""
    by_family = {family: sorted(place for place in places if place.startswith(family)) for family in ("ipv4:", "ipv6:", "unix:")}
    family, found = max(by_family.items(), key=lambda entry: len(entry[1]))
    return found[0] if family == "unix:" else family + ",".join(place.removeprefix(family) for place in found)
