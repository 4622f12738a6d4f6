"""One HTTP request on its way: what its headers say, who it is, what was charged, how it ended."""

from time import perf_counter

from stylobate.clients.limits import carried_limit
from stylobate.errors import StylobateError, TokenInvalidError
from stylobate.http.asgi import Headers, LimitText, Scope, Send
from stylobate.http.problem import send_problem
from stylobate.ids import request_id_of
from stylobate.rpc.call import Call

_READ = frozenset({
    b"access-control-request-method", b"authorization", b"content-encoding", b"content-length", b"content-type", b"host",
    b"idempotency-key", b"origin", b"traceparent", b"transfer-encoding", b"user-agent", b"x-forwarded-for", b"x-request-id",
})  # fmt: skip
"""The header fields that the gateway looks at; routes see the others too."""


class Exchange:
    """Made once from the scope, kept in ``scope["stylobate"]``."""

    __slots__ = ("call", "error", "headers", "instance", "limits", "method", "path", "request_id", "route", "started", "status")

    def __init__(self, scope: Scope) -> None:
        self.started = perf_counter()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.instance: bytes = scope["raw_path"]
        """The path as it was sent, percent-encoded: a URI reference."""
        self.route = ""
        """The declared path that took the request, with its parameters' names; empty before one did."""
        self.limits: list[LimitText] = []
        """How the limits stand that it was charged on, the narrowest first."""
        self.status = 0
        self.error: StylobateError | None = None
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _READ:
                # several lines make a list (RFC 9110 §5.3), so two tokens are none: nobody may choose which one counts
                headers[name] = headers[name] + b", " + value if name in headers else value
        self.headers = headers
        """Those of :data:`_READ`, by name in lower case."""
        self.request_id = request_id_of(headers.get(b"x-request-id", b"").decode("latin-1"))
        self.call = Call(self.request_id)
        """Who asks, until when, and what of it goes on to the services."""

    @property
    def body_size(self) -> int:
        """How many bytes the body has; -1: it says so at its end (RFC 9112 §6.3)."""
        announced = self.headers.get(b"content-length", b"0")
        return -1 if b"transfer-encoding" in self.headers or not announced.isdigit() else int(announced)

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def is_coded(self) -> bool:
        """Whether the body is compressed, or coded in another way (RFC 9110 §8.4)."""
        codings = self.headers.get(b"content-encoding", b"")
        return bool(codings) and not {coding.strip().lower() for coding in codings.split(b",")} <= {b"", b"identity"}

    @property
    def bearer(self) -> str:
        """The bearer token, or empty. Raises TokenInvalidError for another scheme."""
        authorization = self.headers.get(b"authorization", b"").decode("latin-1")
        if not authorization:
            return ""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenInvalidError("Authorization must have the form `Bearer <access token>`.")
        return token.strip()

    async def refuse(self, send: Send, error: StylobateError, headers: Headers | None = None) -> None:
        """Answer with the error, and with these header fields beside its own; how a limit stands that it speaks of goes first."""
        self.error = error
        self.limits = [*carried_limit(error), *self.limits]
        await send_problem(send, error, headers or [], request_id=self.request_id, instance=self.instance.decode("latin-1"))
