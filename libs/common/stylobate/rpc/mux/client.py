"""A client's end of a stream: the calls under way, and what waits to be sent."""

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import msgspec
from msgspec import Raw

from stylobate.rpc.method import MAX_MESSAGE_BYTES, Metadata
from stylobate.rpc.mux import frames
from stylobate.rpc.mux.connection import STREAM, Http2
from stylobate.rpc.mux.frames import ProtocolError
from stylobate.rpc.mux.heads import Head
from stylobate.rpc.mux.items import EXCHANGE, MAX_REQUEST_BYTES, MOST_TO_CLIENT, Reply, TooLargeError, packed
from stylobate.rpc.mux.watch import LOOK_S

if TYPE_CHECKING:
    from stylobate.rpc.mux.call import MuxCall

AGED = "max_age"
"""Said by a server, ours or gRPC's own, that wants the client to connect anew and serves meanwhile."""
SILENT = "silent"
REPLACED = (AGED, SILENT)
"""Why a stream is left that goes on until another one takes its place."""
_ASK, _ASK_IDLE = 1, 12
"""Looks without a word."""
_STUCK_S = 3.0
"""Without an answer: then what may be sent twice goes to another server as well, where there is one."""
_LONGEST_S = 1e6
"""A longer time is none."""
_MAX_UNSENT = 1024 * 1024
_LOST = "the connection was lost"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Reply, ...]).decode


class ClientStream(Http2):
    """One connection to one server. It is of use from :attr:`ready` until :attr:`leaving`."""

    is_server = False
    patience = 15.0

    def __init__(self, loop: asyncio.AbstractEventLoop, authority: str, scheme: str, most_calls: int) -> None:
        super().__init__(loop, MOST_TO_CLIENT)
        self.ready: asyncio.Future[None] = loop.create_future()
        self.leaving: asyncio.Future[str] = loop.create_future()
        """Done when another stream is to take its place: of :data:`REPLACED`, or it takes no more calls."""
        self.over: asyncio.Future[None] = loop.create_future()
        """Done when the connection is closed."""
        self.pending: dict[int, MuxCall] = {}
        self.weight = 1
        """Its share of the calls, beside those of the other streams of a channel."""
        self.is_taking = False
        """Whether it takes calls."""
        self._authority, self._scheme, self._most_calls = authority, scheme, most_calls
        self._last_id = 0
        self._calls: dict[int, Raw] = {}
        """Those that wait to be sent."""
        self._cancelled: list[int] = []
        self._waiting_bytes = 0
        self._is_scheduled = False
        self._is_finishing = False
        self._parts: dict[int, bytearray] = {}

    # calls

    @property
    def has_room(self) -> bool:
        """Whether it takes another call."""
        is_answering = self.is_taking and not self.watch.is_silent
        return is_answering and len(self.pending) < self._most_calls and self._waiting_bytes < _MAX_UNSENT

    def call(self, call: "MuxCall", method: str, metadata: Metadata, request: bytes, timeout: float | None) -> int:
        """Send a call; return its id. The call is told what comes of it.

        :raises TooLargeError: it does not go by a stream.
        :raises TypeError, ValueError: its metadata is none.
        """
        number = self._last_id + 1
        timeout_us = 0 if timeout is None or timeout > _LONGEST_S else int(timeout * 1e6) or 1
        text: list[str] = []
        binary = []
        for key, value in metadata:
            if isinstance(value, str):
                text += (key, value)
            else:
                binary.append((key, value))
        item = (number, method, text, timeout_us, request)
        encoded = _encode((*item, binary) if binary else item)
        if len(encoded) > MAX_REQUEST_BYTES:
            raise TooLargeError
        self._last_id = number
        self.pending[number] = call
        self._calls[number] = Raw(encoded)
        self._waiting_bytes += len(encoded)
        if len(self.pending) == 1 and not self._is_scheduled:
            self._flush()  # there is nobody to go together with
        else:
            self._schedule()
        return number

    def forget(self, number: int, *, is_cancelled: bool) -> None:
        """Wait no more for a call; what comes of it is passed over.

        :param is_cancelled: whether the server is told; it knows of a deadline by itself.
        """
        if self.pending.pop(number, None) is None:
            return
        self._parts.pop(number, None)
        if self._calls.pop(number, None) is None and is_cancelled and not self.is_closing:
            self._cancelled.append(number)
            self._schedule()
        self._finish_if_done()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, unless the connection is full: then it waits, and goes together."""
        self._is_scheduled = False
        if self.is_closing or self.is_congested:
            return
        calls, cancelled = self._calls, self._cancelled
        self._calls, self._cancelled, self._waiting_bytes = {}, [], 0
        if cancelled:
            self.send(_encode(((), cancelled)))
        if calls:
            for some in packed(tuple(calls.values())):
                self.send(_encode((some,)))

    def writable(self) -> None:
        """Send what waited."""
        self._flush()

    # the connection

    def connection_made(self, transport: Any) -> None:
        """Greet, and call :data:`~stylobate.rpc.mux.items.EXCHANGE`."""
        self.transport = transport
        transport.write(frames.PREFACE)
        self.open()
        head = {":method": "POST", ":scheme": self._scheme, ":path": EXCHANGE, ":authority": self._authority}
        self.send_head(STREAM, *head.items(), ("te", "trailers"), ("content-type", "application/grpc"))
        self.is_open = True
        self.watch.look()

    @property
    def idle_looks(self) -> int:
        """Few while somebody waits."""
        return _ASK if self.pending else _ASK_IDLE

    def unanswered(self, looks: int) -> None:
        """Leave the calls under way their time: the server may only be busy. Those that may go elsewhere as well do."""
        super().unanswered(looks)
        if looks * LOOK_S >= _STUCK_S and not self.is_closing:
            self._leave(SILENT)
            unsent, self._calls, self._waiting_bytes = self._calls, {}, 0
            for number in unsent:
                self.pending.pop(number).fail(_lost(), is_unsent=True)
            for call in tuple(self.pending.values()):
                call.ask_another()

    def head(self, stream: int, head: Head, *, is_end: bool) -> None:
        """Take calls from the first on; trailers are the end."""
        if stream != STREAM:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a head on another stream")
        if is_end or head.get(":status") != "200" or not head.get("content-type", "").startswith("application/grpc"):
            self.close()
        elif not self.ready.done():
            self.is_taking = True
            self.ready.set_result(None)

    def message(self, message: bytes) -> None:
        """Give each call what came of it; late replies are passed over."""
        try:
            replies = _decode(message)
        except msgspec.DecodeError as error:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a message cannot be read") from error
        pending = self.pending
        for reply in replies:
            call = pending.get(reply.id)
            if call is None:
                continue
            response = reply.response
            if reply.is_part or reply.id in self._parts:
                parts = self._parts.setdefault(reply.id, bytearray())
                parts += response
                if len(parts) > MAX_MESSAGE_BYTES:
                    raise ProtocolError(frames.ENHANCE_YOUR_CALM, "a response is too large")
                if reply.is_part:
                    continue
                response = bytes(self._parts.pop(reply.id))
            del pending[reply.id]
            if reply.code:
                code = _CODES.get(reply.code, grpc.StatusCode.UNKNOWN)
                metadata = grpc.aio.Metadata(*reply.initial), grpc.aio.Metadata(*reply.trailing)
                call.fail(grpc.aio.AioRpcError(code, *metadata, reply.details))
            else:
                call.answer(response, reply.initial, reply.trailing)
        self._finish_if_done()

    def going(self, code: int, text: str) -> None:
        """Leave: at once, or as soon as there is another stream."""
        if code != frames.NO_ERROR:
            self.close()
        else:
            self.is_taking = self.is_taking and text == AGED
            self._leave(text)

    def ended(self) -> None:
        """Take it as the end of the connection: a server ends with trailers."""
        self.close()

    def finish(self) -> None:
        """Take no more calls, and end when those under way have."""
        self.is_taking = False
        self._is_finishing = True
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._is_finishing and not self.pending and not self.is_closing:
            self._is_finishing = False
            self.end(lambda: self.transport.write(frames.frame(frames.DATA, frames.END_STREAM, STREAM)))

    def _leave(self, why: str) -> None:
        if not self.leaving.done():
            self.leaving.set_result(why)

    def close(self) -> None:
        """End the connection and every call on it."""
        super().close()
        self._lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every call under way, at once."""
        super().connection_lost(exc)
        self._lose()
        if not self.over.done():
            self.over.set_result(None)

    def _lose(self) -> None:
        self.is_taking = False
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(_LOST))
            self.ready.exception()  # nobody may wait for it
        self._leave(_LOST)
        unsent, self._calls = self._calls, {}
        pending, self.pending = self.pending, {}
        self._parts.clear()
        for number, call in pending.items():
            call.fail(_lost(), is_unsent=number in unsent)


def _lost() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), _LOST)
