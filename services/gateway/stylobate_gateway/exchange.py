"""One HTTP request on its way: what its headers say, who it is, what was charged, how it ended."""

from time import perf_counter

from stylobate.clients.limit_outcome import LimitOutcome, carried_limit
from stylobate.errors import StylobateError
from stylobate.http.asgi import Headers, LimitText, Send, limit_headers
from stylobate.http.problem import NO_SNIFFING, send_problem
from stylobate.ids import new_id, request_id_of
from stylobate.rpc.call import Call

from stylobate_gateway.called_actions import Found
from stylobate_gateway.head import Head

JSON = "application/json"
_JSON = JSON.encode()
_REPLAYED = (b"idempotency-replayed", b"true")
_NO_SNIFFING = b"%b: %b\r\n" % NO_SNIFFING


class Exchange:
    """Made once for a request; ASGI applications find it in ``scope["stylobate"]``.

    :param head: may be that of other requests too.
    """

    __slots__ = (
        "_limits",
        "call",
        "charged_limit",
        "csrf_token",
        "error",
        "found",
        "head",
        "headers",
        "instance",
        "is_by_cookie",
        "is_replayed",
        "method",
        "outcome",
        "path",
        "request_id",
        "route",
        "set_cookies",
        "started",
        "status",
        "tells_time",
    )

    def __init__(self, head: Head) -> None:
        self.started = perf_counter()
        self.head = head
        self.method = head.method
        self.path = head.path
        self.instance = head.instance
        self.headers = head.headers
        self.route = ""
        """The declared path that took the request, with its parameters' names; empty before one did."""
        self.found: Found | set[str] = set()
        """The action that it is for, else the methods that actions take at its path; once it is admitted."""
        self.charged_limit = ""
        """The action's own limit, as declared, that it was charged on."""
        self.outcome: LimitOutcome | None = None
        """How the check of its limits went; None: there was none."""
        self._limits: list[LimitText] | None = None
        self.status = 0
        self.tells_time = False
        """Whether the answer says how long it took."""
        self.is_replayed = False
        """Whether the answer is that of an earlier request with the same ``Idempotency-Key``."""
        self.is_by_cookie = False
        """Whether cookies say who asks."""
        self.set_cookies: list[bytes] | None = None
        """Values of ``Set-Cookie``; None: the answer leaves cookies alone."""
        self.csrf_token = ""
        """What the answer says in ``X-CSRF-Token``; empty: nothing."""
        self.error: StylobateError | None = None
        given = head.headers.get(b"x-request-id")
        self.request_id = new_id() if given is None else request_id_of(given.decode("latin-1"))
        self.call = Call(self.request_id)
        """Who asks, until when, and what of it goes on to the services."""

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        found = self.headers.get(b"content-type", b"")
        return JSON if found == _JSON else found.partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def is_coded(self) -> bool:
        """Whether the body is compressed, or coded in another way (RFC 9110 §8.4)."""
        codings = self.headers.get(b"content-encoding", b"")
        return bool(codings) and not {coding.strip().lower() for coding in codings.split(b",")} <= {b"", b"identity"}

    @property
    def limits(self) -> list[LimitText]:
        """How the limits stand that it was charged on, the narrowest first: as the check told, unless something else is known."""
        if self._limits is None:
            return [] if self.outcome is None else self.outcome.texts()
        return self._limits

    @limits.setter
    def limits(self, found: list[LimitText]) -> None:
        self._limits = found

    def lines(self) -> bytes:
        """Return the lines of :meth:`fields`, each with its end: for answers of which there are many, nearly ready."""
        if self._limits is not None or self.is_replayed or self.is_by_cookie or self.set_cookies is not None:
            return b"".join([b"%b: %b\r\n" % field for field in self.fields()])
        limits = b"" if self.outcome is None else self.outcome.lines()
        if not self.tells_time:
            return b"x-request-id: %b\r\n%b%b" % (self.request_id.encode(), _NO_SNIFFING, limits)
        took_ms = (perf_counter() - self.started) * 1000
        return b"x-request-id: %b\r\n%b%bserver-timing: total;dur=%.1f\r\n" % (
            self.request_id.encode(), _NO_SNIFFING, limits, took_ms,
        )  # fmt: skip

    def fields(self) -> Headers:
        """Return the header fields that every answer has."""
        fields = [(b"x-request-id", self.request_id.encode()), NO_SNIFFING, *limit_headers(self.limits)]
        if self.is_replayed:
            fields.append(_REPLAYED)
        if self.is_by_cookie or self.set_cookies is not None:
            fields += self._of_cookies()
        if self.tells_time:
            fields.append((b"server-timing", b"total;dur=%.1f" % ((perf_counter() - self.started) * 1000)))
        return fields

    def _of_cookies(self) -> Headers:
        """Return what an answer to a browser's session has beside; no cache that others share may keep it."""
        fields = [(b"set-cookie", value) for value in self.set_cookies or ()]
        fields.append((b"cache-control", b"private, no-cache" if self.set_cookies is None else b"no-store"))
        if self.csrf_token:
            fields.append((b"x-csrf-token", self.csrf_token.encode()))
        return fields

    async def refuse(self, send: Send, error: StylobateError, headers: Headers | None = None) -> None:
        """Answer with the error, and with these header fields beside its own; how a limit stands that it speaks of goes first."""
        self.error = error
        self.limits = [*carried_limit(error), *self.limits]
        await send_problem(send, error, headers or [], request_id=self.request_id, instance=self.instance.decode("latin-1"))
