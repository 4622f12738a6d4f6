"""Watches of state as server-sent events (WHATWG HTML §9.2): one stream of the state service behind each answer."""

import asyncio
import random
from typing import Any

import grpc
import grpc.aio
import orjson
from starlette.responses import Response, StreamingResponse
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import DeadlineExceededError, InternalError, StylobateError, UnavailableError
from stylobate.http.asgi import ENDLESS, Receive, Scope, Send
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

from stylobate_gateway.errors import WatchesFullError
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.state_documents import change_document, object_document

MEDIA_TYPE = "text/event-stream"
_FIELDS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""nginx holds answers back that it may buffer."""
_BEGIN_S = 10.0
"""For the first message."""
_OUTAGE_S = 60.0
"""How long the state service may be gone before a client is sent away."""
_ALIVE_S = 5.0
"""Between two signs of life while it is."""
_COME_BACK_MS = (500, 3000)
"""After what time clients come back: not all of them at once."""
_ALIVE = b":\n\n"
_log = get_logger("app")


class StateWatches:
    """Opens them.

    :param stopping: set when the process stops: clients are sent elsewhere. :param most: open at a time.
    """

    def __init__(self, channel: grpc.aio.Channel, stopping: asyncio.Event, most: int) -> None:
        self._stub = StateServiceStub(channel)
        self.stopping = stopping
        self._most = most
        self._open = 0

    async def open(self, exchange: Exchange, request: state.WatchStatesRequest) -> Response:
        """Return the answer to a request, once the state service has let it in. Raises StylobateError."""
        if self._open >= self._most or self.stopping.is_set():
            raise WatchesFullError
        self._open += 1
        watch = _Watch(self._stub, request)
        try:
            await watch.begin()
        except BaseException:
            self._open -= 1
            raise
        if exchange.method == "HEAD":
            self.close(watch)
            answer = Response(headers=_FIELDS, media_type=MEDIA_TYPE)
            del answer.headers["content-length"]  # GET's would have none
            return answer
        return EventStream(watch, exchange, self)

    def close(self, watch: "_Watch") -> None:
        """End a watch."""
        self._open -= 1
        watch.close()


class _Watch:
    """What the state service tells; begun again, from where it was, when that one is gone for a moment."""

    def __init__(self, stub: StateServiceStub, request: state.WatchStatesRequest) -> None:
        self._stub = stub
        self._request = request
        self._call: Any = None
        self.first: Any = None
        """The message that showed that the caller is let in."""

    async def begin(self) -> None:
        """Open the stream, from the position of the request on. Raises StylobateError."""
        self._call = self._stub.WatchStates(self._request)
        try:
            async with asyncio.timeout(_BEGIN_S):
                self.first = await self._call.read()
        except TimeoutError:
            raise DeadlineExceededError("The state service did not answer in time.") from None

    async def pump(self, send: Send) -> None:
        """Send what is told, without end. Raises StylobateError: what ends it."""
        while goes_on():
            try:
                message = self.first
                while message is not grpc.aio.EOF:
                    self._request.position = message.position or self._request.position
                    await send(_part(frame(message)))
                    message = await self._call.read()
            except StylobateError as error:
                if error.code is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await self._begin_again(send)

    async def _begin_again(self, send: Send) -> None:
        """Open the stream again when the state service is back."""
        now = asyncio.get_running_loop().time
        until, alive_at, pauses = now() + _OUTAGE_S, now() + _ALIVE_S, backoff(0.05, maximum=1.0)
        while True:
            await asyncio.sleep(next(pauses))
            if now() >= alive_at:
                await send(_part(_ALIVE))
                alive_at = now() + _ALIVE_S
            try:
                await self.begin()
            except StylobateError as error:
                if error.code not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED} or now() >= until:
                    raise
            else:
                return

    def close(self) -> None:
        """End the stream."""
        if self._call is not None:
            self._call.cancel()


class EventStream(StreamingResponse):
    """The answer. It ends with an event that says why, unless the client went away."""

    def __init__(self, watch: _Watch, exchange: Exchange, watches: StateWatches) -> None:
        super().__init__((), headers=_FIELDS, media_type=MEDIA_TYPE)
        self._watch = watch
        self._exchange = exchange
        self._watches = watches

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope[ENDLESS] = True
        pump = asyncio.create_task(self._watch.pump(send), name="watch")
        others = (
            asyncio.create_task(_gone(receive), name="watch-client"),
            asyncio.create_task(self._watches.stopping.wait(), name="watch-stopping"),
        )
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await asyncio.wait((pump, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end((pump, *others))
            self._watches.close(self._watch)
        if not others[0].done() or others[0].cancelled():
            await send(_part(self._farewell(pump), is_last=True))

    def _farewell(self, pump: "asyncio.Task[None]") -> bytes:
        """Return the event that ends the stream."""
        error = None if pump.cancelled() else pump.exception()
        if error is None:
            error = UnavailableError("This process stops; another one goes on.")
        elif not isinstance(error, StylobateError):
            _log.error("watch_failed", request_id=self._exchange.request_id, exc_info=error)
            error = InternalError()
        told = orjson.dumps({"code": error.reason, "detail": error.detail, "request_id": self._exchange.request_id})
        return b"retry: %d\nevent: end\ndata: %b\n\n" % (random.randint(*_COME_BACK_MS), told)  # noqa: S311  hides nothing


def frame(message: state.WatchStatesResponse) -> bytes:
    """Return a message as an event; one that tells nothing moves the position on."""
    position = b"id: %b\n" % message.position.encode() if message.position else b""
    kind = message.WhichOneof("told")
    match kind:
        case "snapshot":
            told = message.snapshot
            data: Any = {"part": told.part, "complete": told.complete, "items": [*map(object_document, told.states)]}
        case "change":
            data = change_document(message.change)
        case "gap":
            data = {"reason": message.gap.reason}
        case _:
            return b":\n%b\n" % position
    return b"%bevent: %b\ndata: %b\n\n" % (position, kind.encode(), orjson.dumps(data))


def _part(body: bytes, *, is_last: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": not is_last}


async def _gone(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass
