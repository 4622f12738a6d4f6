"""The HTTP protocol of the listeners: uvicorn's, with deadlines, and with each answer leaving in one write.

What cannot be parsed never becomes a request. It is answered here, as a problem like every other (RFC 9457), behind the
answers that are still owed on the connection.
"""

import asyncio
from typing import Any

from stylobate.app import http_rules as rules
from stylobate.app.connections import Connections
from stylobate.app.express import Express
from stylobate.app.http_bounds import SLOWEST
from stylobate.app.http_by_heart import HttpByHeart
from stylobate.app.joined_writes import JoinedWrites
from stylobate.errors import StylobateError
from stylobate.http.asgi import ENDLESS
from stylobate.http.problem import problem_application, whole_answer
from stylobate.ids import new_id
from stylobate.logs import get_logger

_LINGER_S = 2.0
_FIRST_REQUEST_S = 2.0
"""How long a listener that stops waits for the first request of who has connected: it has accepted, so nobody else can answer."""
_log = get_logger("security")


class HttpProtocol(HttpByHeart):
    """One connection. :class:`Connections` looks at it once a second and when all connections hold too much together."""

    def __init__(  # noqa: PLR0917  uvicorn's
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        loop: Any,
        connections: Connections,
        express: Express | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop, connections, express)
        self._is_lingering = False
        self._has_ended = False
        """Whether the client has said that nothing more comes."""
        self._writing: JoinedWrites

    # what the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Put the joining transport in front of the server's."""
        joined: Any = JoinedWrites(transport, self._register.turn_end, self._lingers_on)
        self._writing = joined
        super().connection_made(joined)
        if self._is_over:  # ended before the loop told us of it
            joined.abort()
        elif self._register.is_draining:  # accepted just before
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything: who connects again and again must leave nothing for the collector to find."""
        super().connection_lost(exc)
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()
            self._answered = None
        self._writing.forget()
        self.pipeline.clear()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn never keeps the connection
        """Send the answers that are owed to a client that has said all it wants; else close."""
        is_owed = self.cycle is not None and not self.cycle.response_complete and ENDLESS not in self.cycle.scope
        if not is_owed or self._is_in_body or self._head or (self._is_over and not self._has_ended):
            return None
        self.cycle.keep_alive = False
        self._is_over = self._has_ended = True
        return True

    def pause_writing(self) -> None:
        """Note that the client takes less than it is sent."""
        super().pause_writing()
        self._register.unsent.hold(self, self._writing.unsent, self._writing.taken, self.loop.time())

    def resume_writing(self) -> None:
        """Note that it has caught up."""
        super().resume_writing()
        self._register.unsent.release(self)

    def shutdown(self) -> None:
        """Close after what is asked is answered, also a first request or a head that is on its way yet.

        Who has been answered and asks nothing is let go: clients know that of connections they keep (RFC 9112 §9.6).
        """
        if self.cycle is not None and not self._head:
            super().shutdown()
        else:
            self.loop.call_later(_FIRST_REQUEST_S, self._close_idle)

    def _close_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    # what the register calls

    def check(self, now: float) -> None:
        """End the connection when a deadline of it has passed."""
        if self.transport is None:  # accepted a moment ago: the loop has not told it yet
            return
        if self._is_lingering:
            if now - self._since > _LINGER_S:
                self.transport.abort()
        elif self._writing.is_stuck(now, self._register.bounds.write_s):
            self.end("write")
        elif self.flow.read_paused:  # it is we who do not read
            self._since = now
        elif self._is_in_body:
            self._check_body(now)
        elif not self._is_over:
            self._check_head(now)
        if self.flow.write_paused:
            self._register.unsent.hold(self, self._writing.unsent, self._writing.taken, now)

    def _check_head(self, now: float) -> None:
        bounds, waited = self._register.bounds, now - self._since
        if self._head:
            if waited > bounds.head_s:
                self.refuse(rules.HEAD_LATE)
        elif self.cycle is None:
            if waited > bounds.head_s:
                self.end("head")
        elif self.cycle.response_complete and waited > bounds.keep_alive_s:
            self.transport.close()

    def _check_body(self, now: float) -> None:
        body_s = self._register.bounds.body_s
        if now - self._since <= body_s:
            return
        if self.cycle.response_complete:
            self.end("body")
        elif self._moved < SLOWEST * body_s:
            self.refuse(rules.BODY_LATE)
        else:
            self._since, self._moved = now, 0

    def give_way(self, *, sending: bool) -> None:
        """End the connection: all of them hold too much together."""
        if sending:
            self.end("unsent")
        else:
            self.refuse(rules.OVERLOADED)

    # answering

    def on_response_complete(self) -> None:
        """Begin the next answer, or wait for the next request."""
        self.server_state.total_requests += 1
        self._register.received.release(self)
        if not self.pipeline:
            self._forget_request()
        if self._is_lingering or self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._since = self.loop.time()
        if not self.pipeline:  # who sends ahead does not get ahead of us
            self.flow.resume_reading()

    def _forget_request(self) -> None:
        """Keep nothing of what was answered: a connection that is kept must not keep a body that nobody read, nor a long head."""
        cycle = self.cycle
        if cycle.body:
            cycle.body = bytearray()
        if self.scope is cycle.scope:  # else the next head is being read
            self.scope = {}  # type: ignore[typeddict-item]
            self.headers = []
            self.url = b""
        cycle.scope = {}  # type: ignore[typeddict-item]

    def refuse(self, refusal: StylobateError) -> None:
        """Answer, and let nothing follow: where the next request would begin is unknown."""
        if self._is_over:
            return
        self._is_over = True
        self._register.received.release(self)
        if not self._register.is_patient_with(self):
            self.end("impatience")
            return
        is_owed = self.cycle is not None and not self.cycle.response_complete
        if self._is_in_body:
            if self.cycle.response_started:
                self.end("body")
                return
            is_owed = bool(self.pipeline)
            if is_owed:
                self.pipeline.popleft()
            self._drop_body()
        if is_owed:
            self.scope.setdefault("method", "GET")  # its request line may not have been read
            application: Any = problem_application(refusal, (b"connection", b"close"))
            self.pipeline.appendleft((self._cycle(keep_alive=False), application))
            return
        request_id = new_id()
        _log.warning(
            "request_unreadable", request_id=request_id, code=refusal.reason, client=self.client[0] if self.client else ""
        )
        self.transport.write(whole_answer(refusal, self.server_state.default_headers, request_id=request_id))
        self._linger()

    def _lingers_on(self) -> bool:
        """Return whether a close waits, since a body is still arriving that nobody reads."""
        if not self._is_in_body or self._is_lingering or self.transport.is_closing():
            return self._is_lingering and not self.transport.is_closing()
        self._is_over = True
        self._linger()
        return True

    def _linger(self) -> None:
        """Close once the client has had time to read: a close with data unread would take the answer from it."""
        self._is_lingering = True
        self._since, self._body = self.loop.time(), 0
        self.flow.resume_reading()
        self.transport.write_eof()

    def end(self, cause: str) -> None:
        """Drop the connection."""
        self._is_over = True
        self._register.cut(cause)
        if self._is_in_body:
            self._drop_body()
        if self.transport is not None:  # else the loop tells it in a moment
            self.transport.abort()

    def _drop_body(self) -> None:
        """Let go of the body at once, and let the application do so: nothing more of it will come."""
        self.cycle.disconnected = True
        self.cycle.body = bytearray()
        self.cycle.message_event.set()
