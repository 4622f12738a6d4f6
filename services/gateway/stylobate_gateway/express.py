"""Calls of actions by name with nothing unusual about them, answered without ASGI.

No rule stands here: the code that opens, admits, carries out, refuses and closes every other request does so for these too. Only
what such a request never needs is left out: FastAPI, and the middleware for pages of other origins.
"""

import re
from collections.abc import Sequence
from typing import Any

from stylobate.app.express import ExpressCycle
from stylobate.app.request_turns import ADMITTED
from stylobate.http.asgi import Header, Receive, Scope, Send, answer

from stylobate_gateway.admission import SMALL, Admission
from stylobate_gateway.catalogue import PREFIX
from stylobate_gateway.dispatch import ActionDispatcher
from stylobate_gateway.door import Door, answering
from stylobate_gateway.exchange import Exchange

_TARGET = re.compile(rb"[A-Za-z0-9_./-]+")
_JSON = b"application/json"
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_UNUSUAL = frozenset({b"content-encoding", b"idempotency-key", b"origin"})
"""Fields of requests that take the long way."""


class Express:
    """See the module, and :class:`stylobate.app.express.Express`."""

    prefix = PREFIX.encode()

    def __init__(self, door: Door, admission: Admission, dispatcher: ActionDispatcher) -> None:
        self._door = door
        self._admission = admission
        self._dispatcher = dispatcher
        self.taken = 0
        """How many requests came this way."""

    def take(self, target: bytes, headers: Sequence[Header]) -> Exchange | None:
        """Return the exchange of a request whose body is a little JSON; None: it takes the long way."""
        if _TARGET.fullmatch(target) is None:
            return None
        exchange = Exchange("POST", target.decode("ascii"), target, headers)
        fields = exchange.headers
        if fields.get(b"content-type") != _JSON or not _UNUSUAL.isdisjoint(fields) or exchange.body_size > SMALL:
            return None
        self.taken += 1
        return exchange

    async def serve(self, taken: Exchange, cycle: ExpressCycle, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        opened = self._door.open(taken)
        try:
            await self._admission.admit(taken, cycle.client, scope.get(ADMITTED))
            found: Any = taken.found
            response = await self._dispatcher.execute(found, taken, b"", cycle.whole())
            kind, body, compression = response.content_type.encode(), response.output, self._door.compression
            if kind == _JSON:
                fields = taken.fields()
                if compression is not None and len(body) >= compression.least:
                    fields, body = await compression.pack(taken.headers.get(b"accept-encoding", b""), fields, body)
                taken.status = 200
                await cycle.answer(_HEAD + b"".join([b"%b: %b\r\n" % field for field in fields]), body)
            else:
                await answer(answering(taken, send, compression), 200, [(b"content-type", kind)], body)
        except Exception as error:  # noqa: BLE001  it is answered
            await self._door.refuse(taken, answering(taken, send, self._door.compression), error)
        finally:
            self._door.close(taken, opened)
