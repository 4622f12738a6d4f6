"""A channel whose unary calls share a stream to each address of the target; everything else goes by plain gRPC."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import grpc.aio

from stylobate.discovery import Places
from stylobate.discovery.target import Target
from stylobate.discovery.whereabouts import Whereabouts
from stylobate.rpc.method import ClientChannel, Decode, Encode
from stylobate.rpc.mux.call import MuxMethod
from stylobate.rpc.mux.client import ClientStream
from stylobate.rpc.mux.peer import Peer
from stylobate.tls import TlsSettings

_LEAVE_WITHIN_S = 10.0
"""For calls under way at an address that the name no longer has."""
_LOOKED_AT = 16
"""Streams among which a call looks for the least busy one, others each time: looking at hundreds would cost more than it."""
_FEW = 50
"""Addresses; of more each is tried again less often, so that all together cost the same when nobody is there."""
_TURNS = 10
"""What the weights of the addresses are brought down to: the heaviest one comes so often in a turn, each at least once."""


class MuxChannel(ClientChannel):
    """Takes unmodified generated stubs; begins to connect at the first call.

    A call goes to the address with the fewest under way for its weight, to one that leaves only where there is no other. While
    none takes streams, and for what is too large, it goes by ``plain``; so does the share of addresses that take no streams, as
    those of an older release.

    :param plain: a channel of ``grpc.aio`` to the same target.
    :param whereabouts: where the target is, which it begins to look for at the first call.
    :param idempotent: methods (``package.Service/Method``) that plain gRPC tries again when nobody answered a call.
    """

    def __init__(
        self,
        plain: grpc.aio.Channel,
        target: Target,
        whereabouts: Whereabouts,
        *,
        tls: TlsSettings | None,
        idempotent: Collection[str] = (),
    ) -> None:
        self.plain = plain
        self._target = target
        self._whereabouts = whereabouts
        self._weights: Mapping[str, int] = {}
        self._tls = tls
        self._idempotent = frozenset(idempotent)
        self._peers: dict[str, Peer] = {}
        self._streams: tuple[ClientStream, ...] = ()
        self._turn = 0
        self._plain_ones = 0
        """Addresses that take no streams."""
        self._plain_calls = 0
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_begun = False

    def method(self, name: str, encode: Encode, decode: Decode, *, is_stream: bool) -> Any:
        """Return what calls a method, with one response or a stream of them."""
        if is_stream:
            return self.plain.unary_stream(name, encode, decode)
        return MuxMethod(self, name, encode, decode, is_idempotent=name.lstrip("/") in self._idempotent)

    def pick(self) -> ClientStream | None:
        """Return the stream that a call goes by; None: by plain gRPC."""
        streams = self._streams
        if len(streams) == 1 and not self._plain_ones:
            return streams[0] if streams[0].has_room else None
        if not self._is_begun:
            self._is_begun = True
            self._whereabouts.listen(self._move)
        if not streams:
            return None
        self._turn += 1
        place = self._turn % len(streams)
        near = streams[place : place + _LOOKED_AT]
        if len(near) < min(_LOOKED_AT, len(streams)):
            near += streams[: min(_LOOKED_AT, len(streams)) - len(near)]
        free = [stream for stream in near if stream.has_room] or [stream for stream in streams if stream.has_room]
        best = min(free, key=lambda stream: (stream.leaving.done(), len(stream.pending) / stream.weight), default=None)
        if best is None or not self._plain_ones:
            return best
        ahead = len(best.pending) * self._plain_ones - self._plain_calls
        is_plain = ahead > 0 or (ahead == 0 and self._turn % (len(streams) + self._plain_ones) < self._plain_ones)
        return None if is_plain else best

    def counted(self, call: Any) -> Any:
        """Return a call that goes by plain gRPC, counted while some addresses take no streams."""
        if self._plain_ones and self._streams:
            self._plain_calls += 1
            call.add_done_callback(self._uncount)
        return call

    def _uncount(self, _: Any) -> None:
        self._plain_calls -= 1

    async def close(self, grace: float | None = None) -> None:
        """Close every stream and the plain channel; calls under way are given that long, in seconds."""
        self._is_begun = True
        self._whereabouts.close()
        peers, self._peers, self._streams = self._peers, {}, ()
        await asyncio.gather(self.plain.close(grace), *(peer.close(grace or 0) for peer in peers.values()))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the plain channel."""
        return self.plain.get_state(try_to_connect=try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state of the plain channel is another one."""
        await self.plain.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the plain channel is connected."""
        await self.plain.channel_ready()

    def _move(self, places: Places) -> None:
        """Keep a peer for each address of the target, whatever they are at the time."""
        most = max(places.values())
        self._weights = {address: max(1, round(weight * _TURNS / most)) for address, weight in places.items()}
        if len(set(places.values())) == 1:
            self._weights = dict.fromkeys(places, 1)
        for address in self._peers.keys() - places.keys():
            task = asyncio.get_running_loop().create_task(self._peers.pop(address).close(_LEAVE_WITHIN_S))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for address in places.keys() - self._peers.keys():
            self._peers[address] = Peer(address, self._target, self._tls, self._change, lambda: max(1.0, len(self._peers) / _FEW))
        self._change()

    def _change(self) -> None:
        streams = []
        for address, peer in self._peers.items():
            if peer.stream is not None:
                peer.stream.weight = self._weights[address]
                streams.append(peer.stream)
        if len(streams) < len(set(self._streams)):
            self._whereabouts.lost()
        turns = range(max((stream.weight for stream in streams), default=0))
        self._streams = tuple(stream for turn in turns for stream in streams if turn < stream.weight)
        self._plain_ones = sum(peer.is_plain for peer in self._peers.values())
