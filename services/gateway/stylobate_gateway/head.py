"""The head of an HTTP request, as the gateway reads it."""

from collections.abc import Iterable
from typing import Any

from stylobate.errors import TokenInvalidError
from stylobate.http.asgi import Header
from stylobate.identity import client_agent
from stylobate.identity.api_key import the_credential

_READ = frozenset({
    b"accept-encoding", b"access-control-request-method", b"authorization", b"content-encoding", b"content-length",
    b"content-type", b"cookie", b"host", b"idempotency-key", b"if-match", b"if-none-match", b"origin", b"traceparent",
    b"transfer-encoding", b"user-agent", b"x-api-key", b"x-csrf-token", b"x-forwarded-for", b"x-request-id",
})  # fmt: skip
"""The header fields that the gateway looks at; routes see the others too."""


_ODD = frozenset({b"content-encoding", b"idempotency-key"})


class Head:
    """What a request says before its body. It does not change: requests that begin with the same bytes share one.

    :param instance: the path as it was sent, percent-encoded: a URI reference.
    :param fields: the header fields, names in lower case.
    """

    __slots__ = (
        "_authorization", "_token", "body_size", "client_agent", "due", "forwarded", "headers", "instance", "is_let_in",
        "is_plain_json", "method", "path", "sent",
    )  # fmt: skip

    def __init__(self, method: str, path: str, instance: bytes, fields: Iterable[Header]) -> None:
        self.method = method
        self.path = path
        self.instance = instance
        self.sent = fields
        """All header fields."""
        headers: dict[bytes, bytes] = {}
        for name, value in fields:
            if name in _READ:
                # several lines make a list (RFC 9110 §5.3), so two tokens are none: nobody may choose which one counts
                headers[name] = headers[name] + b", " + value if name in headers else value
        self.headers = headers
        """Those of :data:`_READ`, by name in lower case."""
        announced = headers.get(b"content-length", b"0")
        self.body_size = -1 if b"transfer-encoding" in headers or not announced.isdigit() else int(announced)
        """How many bytes the body has; -1: it says so at its end (RFC 9112 §6.3)."""
        self.client_agent = client_agent(headers.get(b"user-agent", b"").decode("latin-1"))
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        self.forwarded = (forwarded,) if forwarded else ()
        self.is_plain_json = headers.get(b"content-type") == b"application/json" and _ODD.isdisjoint(headers)
        """Whether its body is JSON as it stands there, and nobody asks for the same twice."""
        self.is_let_in = False
        """Whether all is fine that admission sees in the head alone."""
        self.due: Any = None
        """What a request with it was charged on the last time, see :class:`stylobate_gateway.charges.Due`."""
        self._token: str | None = None
        self._authorization = ""

    @property
    def bearer(self) -> str:
        """The bearer token or API key, or empty. Raises TokenInvalidError for another scheme, or for two credentials."""
        if self._token is None:
            self._token = self._read_bearer()
        return self._token

    @property
    def authorization(self) -> str:
        """The token or key as it goes on to the services: one text, which they know again."""
        if not self._authorization:
            self._authorization = f"Bearer {self.bearer}"
        return self._authorization

    def _read_bearer(self) -> str:
        authorization = self.headers.get(b"authorization", b"").decode("latin-1")
        if b"x-api-key" in self.headers:
            authorization = the_credential(authorization, self.headers[b"x-api-key"].decode("latin-1"))
        if not authorization:
            return ""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenInvalidError("Authorization must have the form `Bearer <access token>`.")
        return token.strip()
