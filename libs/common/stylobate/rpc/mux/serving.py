"""A server's end of a stream: its calls are served as local ones are, by the same chain."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from random import uniform
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc
import grpc.aio
import msgspec
from msgspec import Raw

from stylobate.rpc.local.call import LocalCall
from stylobate.rpc.method import Metadata
from stylobate.rpc.mux import frames
from stylobate.rpc.mux.client import AGED
from stylobate.rpc.mux.connection import STREAM, Http2
from stylobate.rpc.mux.frames import ProtocolError
from stylobate.rpc.mux.heads import Head
from stylobate.rpc.mux.items import EXCHANGE, MOST_TO_SERVER, PART_BYTES, CallItem, FromClient, packed
from stylobate.rpc.status import FULL

if TYPE_CHECKING:
    from stylobate.rpc.mux.server import MuxServer

_MAX_WAITING = 4 * 1024 * 1024
"""Octets of replies that a client does not take, beyond which it may send no more calls."""
_REPLY_BYTES = 64
"""What a reply takes in memory beside its octets, roughly."""
_READ_S = 5.0
"""In which a client reads that no more calls are taken."""
_DRAINING = b"draining"
_STOPPING = "the server is shutting down"
_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.value[0]
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FromClient).decode


class ServedStream(Http2):
    """One connection of one client."""

    is_server = True
    patience = 5.0
    idle_looks = 40

    def __init__(self, server: "MuxServer", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, MOST_TO_SERVER)
        self._server = server
        self.host = ""
        """Where the client is; empty: at a unix socket."""
        self._peer = ""
        self._is_greeted = False
        self._is_last_read = False
        """Whether no further call can come."""
        self._calls: dict[int, LocalCall] = {}
        self._replies: list[Raw] = []
        self._large: deque[tuple[int, memoryview, tuple[Metadata, ...]]] = deque()
        """Responses that go in parts: the call, what is left of its response, the metadata that goes with the last part."""
        self._waiting_bytes = 0
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self.over: asyncio.Future[None] = loop.create_future()

    # the connection

    def connection_made(self, transport: Any) -> None:
        """Wait for a greeting, not for long."""
        self.transport = transport
        name = transport.get_extra_info("peername")
        self.host, self._peer = str(name[0]) if isinstance(name, tuple) else "", _peer(name)
        if not self._server.opened(self):
            self.is_closing = True
            transport.abort()
            return
        self.open()
        self._timer = self.loop.call_later(self._server.greet_s, self.close)
        self.watch.look()

    def data_received(self, data: bytes) -> None:
        """Take octets, the greeting first."""
        if not self._is_greeted:
            data = self._partial + data
            if not data.startswith(frames.PREFACE[: len(data)]):
                self.close()
                return
            if len(data) < len(frames.PREFACE):
                self._partial = data
                return
            self._is_greeted, self._partial, data = True, b"", data[len(frames.PREFACE) :]
        super().data_received(data)

    def head(self, stream: int, head: Head, *, is_end: bool) -> None:
        """Begin the stream; of any other method say that there is none."""
        if self.is_open:
            if stream != STREAM:
                code = frames.REFUSED_STREAM.to_bytes(4, "big")
                self.transport.write(frames.frame(frames.RST_STREAM, 0, stream, code))
            elif is_end:
                self.ended()
            return
        if stream != STREAM or head.get(":method") != "POST":
            raise ProtocolError(frames.PROTOCOL_ERROR, "no call")
        answer = (":status", "200"), ("content-type", "application/grpc")
        if head.get(":path") != EXCHANGE:
            self.send_head(stream, *answer, ("grpc-status", str(_UNIMPLEMENTED)), is_end=True)
            self.transport.write(frames.goaway_frame(frames.NO_ERROR, "", STREAM))
            self.close()
            return
        self.is_open = True
        self.send_head(stream, *answer)
        self._wait(self._server.max_age_s * uniform(0.9, 1.1), self.retire)  # noqa: S311  so that not all come at once
        if is_end:
            self.ended()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, then)

    def retire(self) -> None:
        """Let the client connect anew, and serve it until it has."""
        if not self.is_open:
            self.close()
            return
        self.transport.write(frames.goaway_frame(frames.NO_ERROR, AGED))
        self._wait(self._server.grace_s, self._stop_in_time)

    def _stop_in_time(self) -> None:
        self.stop()
        self._wait(self._server.grace_s, self.close)

    def stop(self) -> None:
        """Take what is on its way and no more, and end when it is answered."""
        if not self.is_open:
            self.close()
            return
        self.transport.write(frames.goaway_frame(frames.NO_ERROR, _STOPPING))
        self.ping(_DRAINING)
        self._wait(_READ_S, self.ended)

    def ponged(self, payload: bytes) -> None:
        """Once the client has read that it is over, nothing more comes of one that goes by it, as ours do."""
        if payload == _DRAINING:
            self.ended()

    def ended(self) -> None:
        """End when all is answered."""
        self._is_last_read = True
        self._end_if_done()

    def going(self, code: int, text: str) -> None:
        """Do nothing: a client opens no stream here anyway."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what nobody waits for any more."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        self._server.closed(self)
        self.over.set_result(None)
        self._replies.clear()
        self._large.clear()
        for call in tuple(self._calls.values()):
            call.cancel()

    # calls

    def message(self, message: bytes) -> None:
        """Begin the calls of a message, and cancel those that nobody waits for."""
        try:
            items = _decode(message)
        except msgspec.DecodeError as error:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a message cannot be read") from error
        for number in items.cancelled:
            if (call := self._calls.pop(number, None)) is not None:
                call.cancel()
        for item in items.calls:
            self._begin(item)

    def _begin(self, item: CallItem) -> None:
        number, server = item.id, self._server
        if number in self._calls or len(item.metadata) % 2:
            raise ProtocolError(frames.PROTOCOL_ERROR, "an id twice, or half a pair")
        behaviour = server.servicers.unary(item.method)
        if behaviour is None:
            self._reply(number, b"", _UNIMPLEMENTED, "Method not found!")
        elif len(self._calls) >= server.calls_per_stream or len(server.live) >= server.max_calls:
            self._reply(number, b"", _EXHAUSTED, FULL)
        else:
            timeout = item.timeout_us / 1e6 if item.timeout_us else None
            call = LocalCall(server.live, self.loop, behaviour, item.request, item.pairs(), timeout, None)
            call.context.address = self._peer
            self._calls[number] = call
            call.outcome.add_done_callback(partial(self._done, number, call))

    def _done(self, number: int, call: LocalCall, outcome: "asyncio.Future[bytes | grpc.aio.AioRpcError]") -> None:
        """Send what came of a call, unless nobody waits for it."""
        self._calls.pop(number, None)
        if outcome.cancelled() or self.is_closing:
            self._end_if_done()
            return
        result = outcome.result()
        if not isinstance(result, bytes):
            metadata = tuple(result.initial_metadata()), tuple(result.trailing_metadata())
            self._reply(number, b"", result.code().value[0], result.details() or "", *metadata)
            return
        head = call.context.sent()
        if len(result) > PART_BYTES:
            self._large.append((number, memoryview(result), head))
            self._waiting_bytes += len(result)
            self._schedule()
        elif head:
            self._reply(number, result, 0, "", *head)
        else:
            self._reply(number, result)

    def _reply(self, *reply: object) -> None:
        try:
            encoded = _encode(reply)
        except (TypeError, ValueError):  # metadata of a handler's that is none
            encoded = _encode((reply[0], b"", _INTERNAL, "The metadata of the answer cannot be sent."))
        self._replies.append(Raw(encoded))
        self._waiting_bytes += len(encoded) + _REPLY_BYTES
        if self._calls or self._is_scheduled:
            self._schedule()
        else:
            self._flush()  # there is nobody to go together with

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, unless the connection is full: then it waits, and goes together."""
        self._is_scheduled = False
        if not self.is_closing and not self.is_congested:
            replies, self._replies = self._replies, []
            self._waiting_bytes = sum(len(response) for _, response, _ in self._large)
            if replies:
                for some in packed(replies):
                    self.send(_encode(some))
            if self._large:
                self._send_part(*self._large.popleft())
        self.receiving.hold(is_held=self._waiting_bytes + self.unsent > _MAX_WAITING)
        self._end_if_done()

    def _send_part(self, number: int, response: memoryview, head: tuple[Metadata, ...]) -> None:
        """Send a part of a large response; what is left stands behind the others."""
        part, rest = response[:PART_BYTES], response[PART_BYTES:]
        if rest:
            self.send(_encode([(number, part, 0, "", (), (), True)]))
            self._large.append((number, rest, head))
            self._schedule()
        else:
            self.send(_encode([(number, part, 0, "", *head)]))

    def writable(self) -> None:
        """Send what waited."""
        self._flush()

    @property
    def is_answering(self) -> bool:
        """Whether a call is under way, or its answer has not gone out yet."""
        return bool(self._calls or self._replies or self._large or self.unsent)

    def _end_if_done(self) -> None:
        if self._is_last_read and not (self._calls or self._replies or self._large or self.is_closing):
            self._is_last_read = False
            self.end(self._bid_farewell)

    def _bid_farewell(self) -> None:
        self.send_head(STREAM, ("grpc-status", "0"), is_end=True)
        self.close()


def _peer(name: object) -> str:
    """Return the other end's address as gRPC core writes it."""
    if not isinstance(name, tuple):
        return "unix:"
    host, port = str(name[0]), name[1]
    return f"ipv6:{quote(f'[{host}]')}:{port}" if ":" in host else f"ipv4:{host}:{port}"
