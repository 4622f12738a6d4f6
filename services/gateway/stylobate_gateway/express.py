"""Calls of actions by name, and reads of one object, with nothing unusual about them, answered without ASGI.

No rule stands here: the code that opens, admits, carries out, refuses and closes every other request does so for these too. Only
what such a request never needs is left out: FastAPI, and the middleware for pages of other origins.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stylobate.app.express import ExpressCycle
from stylobate.app.request_turns import ADMITTED
from stylobate.http.asgi import Header, Headers, Receive, Scope, Send, answer

from stylobate_gateway.admission import SMALL, Admission
from stylobate_gateway.api import STATE
from stylobate_gateway.called_actions import PREFIX
from stylobate_gateway.dispatch import ActionDispatcher
from stylobate_gateway.door import Door
from stylobate_gateway.exchange import JSON, Exchange
from stylobate_gateway.head import Head
from stylobate_gateway.state_lane import Reading, StateLane

_TARGET = re.compile(rb"[A-Za-z0-9_./-]+")
_JSON = JSON.encode()
_HEADS = {200: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", 304: b"HTTP/1.1 304 Not Modified\r\n"}
_UNUSUAL = frozenset({b"content-encoding", b"cookie", b"idempotency-key", b"origin"})
"""Fields of requests that take the long way."""
Taken = Exchange | Reading


class Express:
    """See the module, and :class:`stylobate.app.express.Express`."""

    def __init__(self, door: Door, admission: Admission, dispatcher: ActionDispatcher, lane: StateLane) -> None:
        self._door = door
        self._admission = admission
        self._dispatcher = dispatcher
        self._lane = lane
        self.prefixes: Mapping[bytes, bytes] = {b"POST": PREFIX.encode(), b"GET": STATE.encode(), b"HEAD": STATE.encode()}
        self.taken = 0
        """How many requests came this way."""

    def take(self, method: bytes, target: bytes, headers: Sequence[Header]) -> Taken | None:
        """Return what is served of a call whose body is a little JSON, or of a read without one; None: it takes the long way."""
        taken = _call_of(target, headers) if method == b"POST" else self._lane.take(method, target, headers)
        if taken is None or not _UNUSUAL.isdisjoint(_exchange(taken).headers):
            return None
        self.taken += 1
        return taken

    def again(self, taken: Taken) -> Taken:
        """Return what is served of another request with the same head."""
        self.taken += 1
        return taken.again() if isinstance(taken, Reading) else Exchange(taken.head)

    async def serve(self, taken: Taken, cycle: ExpressCycle, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange, door = _exchange(taken), self._door
        opened = door.open(exchange)
        try:
            await self._admission.admit(exchange, cycle.client, scope.get(ADMITTED))
            if isinstance(taken, Reading):
                await self._read(taken, cycle)
            else:
                found: Any = exchange.found
                exchange.route = found.action.label
                body = cycle.body if cycle.is_whole else await cycle.whole()
                kind, output = self._dispatcher.told(exchange, await self._dispatcher.call(found, exchange, b"", body))
                if kind == JSON and not cycle.is_behind and not door.packs(output):
                    # to a POST from no page of another origin: nothing more is told
                    exchange.status = 200
                    cycle.answer(_HEADS[200] + exchange.lines(), output)
                elif kind == JSON:
                    await self._answer(exchange, cycle, 200, [], output)
                else:
                    await answer(door.answering(exchange, send), 200, [(b"content-type", kind.encode())], output)
        except Exception as error:  # noqa: BLE001  it is answered
            await door.refuse(exchange, door.answering(exchange, send), error)
        finally:
            door.close(exchange, opened)

    async def _read(self, reading: Reading, cycle: ExpressCycle) -> None:
        found = await self._lane.answer(reading)
        exchange, content = reading.given.exchange, found.content
        if "vary" not in found.headers and not cycle.is_behind and (content is None or not self._door.packs(content)):
            exchange.status = 304 if content is None else 200
            own = "".join([f"{name}: {value}\r\n" for name, value in found.headers.items()]).encode("ascii")
            cycle.answer(_HEADS[exchange.status] + own + exchange.lines() + self._door.vary_line, content)
            return
        fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in found.headers.items()]
        await self._answer(exchange, cycle, 304 if content is None else 200, fields, content)

    async def _answer(self, exchange: Exchange, cycle: ExpressCycle, status: int, fields: Headers, content: bytes | None) -> None:
        """Send JSON, or nothing: the same as is sent without further ado, when that must be compressed or has to wait."""
        fields, content = await self._door.packed(exchange, fields, content)
        if cycle.is_behind:
            await cycle.caught_up()
        exchange.status = status
        cycle.answer(_HEADS[status] + b"".join([b"%b: %b\r\n" % field for field in fields]), content)


def _call_of(target: bytes, headers: Sequence[Header]) -> Exchange | None:
    """Return the exchange of a call whose body is a little JSON."""
    if _TARGET.fullmatch(target) is None:
        return None
    exchange = Exchange(Head("POST", target.decode("ascii"), target, headers))
    return exchange if exchange.headers.get(b"content-type") == _JSON and exchange.head.body_size <= SMALL else None


def _exchange(taken: Taken) -> Exchange:
    return taken.given.exchange if isinstance(taken, Reading) else taken
