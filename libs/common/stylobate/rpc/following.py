"""Plain gRPC to what may change: addresses that gRPC cannot look up by itself, certificates that it reads once."""

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
    """Has a channel for the moment; when something changes, calls go by a new one, and those under way end on the old.

    :param target: of gRPC, where whereabouts tell no other.
    :param open_channel: opens a channel to a target.
    :param credentials: what a channel is opened with: when it is another, so must the channel be.
    """

    def __init__(
        self,
        target: str,
        whereabouts: Whereabouts | None,
        open_channel: Callable[[str, grpc.ChannelCredentials | None], grpc.aio.Channel],
        credentials: Callable[[], grpc.ChannelCredentials | None],
    ) -> None:
        self._open, self._credentials = open_channel, credentials
        self._leaving: set[asyncio.Task[None]] = set()
        # gRPC fails its calls at once, as those to an address where nobody is, and says the name
        self._target = target if whereabouts is None else f"unix:no-address-of-{whereabouts.service}-is-known-yet"
        self._by = credentials()
        self._channel = open_channel(self._target, self._by)
        if whereabouts is not None:
            whereabouts.listen(lambda places: self._move(target_of(places)))

    @property
    def current(self) -> grpc.aio.Channel:
        """The channel of the moment."""
        if self._credentials() is not self._by:
            self._move(self._target)
        return self._channel

    def _move(self, target: str) -> None:
        self._target, self._by = target, self._credentials()
        old, self._channel = self._channel, self._open(target, self._by)
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
        await asyncio.gather(self._channel.close(grace), *leaving, return_exceptions=True)

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
