"""One HTTP request on its way: what its headers say, who it is, what was charged, how it ended."""

from time import perf_counter

from stylobate.errors import StylobateError, TokenInvalidError
from stylobate.http.asgi import Headers, Scope, Send
from stylobate.http.limits import LimitText
from stylobate.http.problem import send_problem
from stylobate.identity import ANONYMOUS, Principal
from stylobate.ids import request_id
from stylobate.telemetry import is_traceparent

_LENGTH_DIGITS = 20
"""More than any body has; the first of a longer number say enough."""


class Exchange:
    """Read once from the scope, kept in ``scope["stylobate"]``."""

    __slots__ = (
        "agent",
        "authorization",
        "content_coding",
        "content_length",
        "content_type",
        "error",
        "forwarded_for",
        "has_origin",
        "host",
        "idempotency_key",
        "instance",
        "limits",
        "method",
        "path",
        "principal",
        "request_id",
        "route",
        "started",
        "status",
        "traceparent",
    )

    def __init__(self, scope: Scope) -> None:  # noqa: C901, PLR0912, PLR0915  one pass over the headers
        self.started = perf_counter()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.instance: bytes = scope["raw_path"]
        """The path as it was sent, percent-encoded: a URI reference."""
        self.traceparent = ""
        self.route = ""
        """The declared path that took the request, with its parameters' names; empty before one did."""
        self.authorization = ""
        self.content_type = b""
        self.content_coding = b""
        self.content_length = -1
        self.forwarded_for: list[str] = []
        self.agent = ""
        self.has_origin = False
        self.host = ""
        self.idempotency_key = False
        self.principal: Principal = ANONYMOUS
        self.limits: list[LimitText] = []
        """How the limits stand that it was charged on, the narrowest first."""
        self.status = 0
        self.error: StylobateError | None = None
        length = asked = b""
        for name, value in scope["headers"]:
            match name:
                case b"authorization":
                    # a second one makes a list of both (RFC 9110 §5.3), which is not a token: nobody may choose which one counts
                    given = value.decode("latin-1")
                    self.authorization = f"{self.authorization}, {given}" if self.authorization else given
                case b"x-request-id":
                    asked = value
                case b"traceparent":
                    parent = value.decode("latin-1")
                    self.traceparent = parent if is_traceparent(parent) else ""
                case b"content-type":
                    self.content_type = value
                case b"content-encoding":
                    self.content_coding += value + b","
                case b"content-length":
                    length = value
                case b"x-forwarded-for":
                    self.forwarded_for.append(value.decode("latin-1"))
                case b"user-agent":
                    self.agent = value.decode("latin-1")
                case b"host":
                    self.host = value.decode("latin-1")
                case b"origin":
                    self.has_origin = True
                case b"idempotency-key":
                    self.idempotency_key = True
        self.request_id = request_id(asked)
        if length:
            digits = length.lstrip(b"0") or b"0"
            self.content_length = int(digits[:_LENGTH_DIGITS]) if digits.isdigit() else -1

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.content_type.partition(b";")[0].strip().lower().decode("latin-1")

    @property
    def is_coded(self) -> bool:
        """Whether the body is compressed, or coded in another way (RFC 9110 §8.4)."""
        codings = {coding.strip().lower() for coding in self.content_coding.split(b",")}
        return not codings <= {b"", b"identity"}

    @property
    def bearer(self) -> str:
        """The bearer token, or empty. Raises TokenInvalidError for another scheme."""
        if not self.authorization:
            return ""
        scheme, _, token = self.authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenInvalidError("Authorization must have the form `Bearer <access token>`.")
        return token.strip()

    async def refuse(self, send: Send, error: StylobateError, headers: Headers | None = None) -> None:
        """Answer with the error, and with these header fields beside its own."""
        self.error = error
        await send_problem(send, error, headers or [], request_id=self.request_id, instance=self.instance.decode("latin-1"))


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange that the outermost layer made."""
    found: Exchange = scope["stylobate"]
    return found
