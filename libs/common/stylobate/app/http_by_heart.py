"""Requests that begin with the same bytes as others before them: what the bytes mean is known, so they are not parsed again.

A client that keeps its connections sends the same head with each call of the same kind. All that parsing finds, and all that is
refused for, depends on these bytes alone, as long as the request before has ended with the bytes before.
"""

from typing import Any, NamedTuple

from stylobate.app.express import begun
from stylobate.app.http_working import HttpWorking
from stylobate.http.asgi import Headers

_LONGEST = 1024
"""Bytes of a head that is kept. A listener keeps a thousand, with what they mean at most some 4 MB."""
_UNIQUE = frozenset({b"traceparent", b"x-request-id"})
"""Fields of heads that do not come again."""


class KnownHead(NamedTuple):
    """What a head means that was taken without ASGI."""

    method: bytes
    url: bytes
    headers: Headers
    taken: Any
    """As who serves it took it."""
    body_size: int


class HttpByHeart(HttpWorking):
    """Between working and answering; :class:`~stylobate.app.http_protocol.HttpProtocol` is the whole."""

    def data_received(self, data: bytes) -> None:
        """Begin a request whose head is known, else parse what came; keep the head of a request that came in one piece."""
        if not self._is_between or self._express is None:
            super().data_received(data)
            return
        end = data.find(b"\r\n\r\n", 0, _LONGEST) + 4
        known = self._register.heads.get(data[:end])
        cycle = self.cycle
        if (
            known is not None
            and known.body_size == len(data) - end
            and (cycle is None or cycle.response_complete)  # the request before is answered
            and not (self._is_over or self._register.is_draining)
        ):
            self._begin_known(known, data[end:])
            return
        super().data_received(data)
        if known is None and self._is_between and self._just_taken is not None:
            self._learn(data, end, self._just_taken)

    def _learn(self, data: bytes, end: int, just_taken: tuple[bytes, bytes, Headers, Any]) -> None:
        """Keep the head of a request that came alone and in one piece."""
        _, _, headers, _ = just_taken
        body_size = next((int(value) for name, value in headers if name == b"content-length"), 0)
        if end + body_size == len(data) and _UNIQUE.isdisjoint([name for name, _ in headers]):
            self._register.heads.put(data[:end], KnownHead(*just_taken, body_size))

    def _begin_known(self, known: KnownHead, body: bytes) -> None:
        self.url, self.headers = known.url, known.headers
        taken = self._express.again(known.taken)
        self.cycle, app = begun(self._express, taken, self, known.method, keep_alive=True)
        self.scope = self.cycle.scope
        self.cycle.body, self.cycle.more_body = body, False
        self._start_asgi_task(self.cycle, app)
