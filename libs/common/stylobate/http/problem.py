"""Errors over HTTP: the one document of a problem (RFC 9457), and the answers around it."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson

from stylobate.errors import StylobateError
from stylobate.http.asgi import Application, Header, Headers, Receive, Scope, Send, answer
from stylobate.ids import new_id

MEDIA_TYPE = "application/problem+json"
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""An answer is what its type says: none is taken for a page or a script because of what it repeats."""
_MOST_VIOLATIONS = 100
"""In one document, as in a status between services."""
_UNQUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
"""What may not stand in an ``error_description`` (RFC 6750 §3)."""


def type_of(reason: str) -> str:
    """Return the problem type, a relative reference that the gateway answers with a page."""
    return f"/problems/{reason.lower().replace('_', '-')}"


def problem_body(error: StylobateError, *, request_id: str, instance: str = "") -> bytes:
    """Return the document.

    :param instance: the path as it was sent; empty where it is not known.
    """
    document: dict[str, Any] = {
        "type": type_of(error.reason),
        "title": error.title,
        "status": error.http_status,
        "detail": error.detail,
        "code": error.reason,
    }
    if instance:
        document["instance"] = instance
    document["request_id"] = request_id
    if error.violations:
        document["errors"] = [{"pointer": found.pointer, "detail": found.detail} for found in error.violations[:_MOST_VIOLATIONS]]
    if error.metadata:
        document["metadata"] = error.metadata
    return orjson.dumps(document)


def problem_headers(error: StylobateError) -> Headers:
    """Return the fields that go with the error, beside its length and the request's id."""
    headers: Headers = [(b"content-type", MEDIA_TYPE.encode())]
    status = error.http_status
    if status == HTTPStatus.UNAUTHORIZED:
        told = _UNQUOTABLE.sub("'", error.detail)
        parameters = (
            f', error="invalid_token", error_description="{told}"' if error.reason.startswith(("TOKEN_", "API_KEY_")) else ""
        )
        headers.append((b"www-authenticate", f'Bearer realm="stylobate"{parameters}'.encode()))
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", error.metadata["allow"].encode()))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, -int(-error.retry_after.total_seconds() // 1))))
    return [*headers, *error.http_fields]


async def send_problem(send: Send, error: StylobateError, headers: Headers, *, request_id: str, instance: str = "") -> None:
    """Send the error as a whole answer, with these fields beside its own."""
    body = problem_body(error, request_id=request_id, instance=instance)
    await answer(send, error.http_status, [*headers, *problem_headers(error)], body)


def problem_application(error: StylobateError, *headers: Header) -> Application:
    """Return an ASGI application that answers every request with the error, under a request id of its own."""

    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        request_id = new_id()
        await send_problem(send, error, [(b"x-request-id", request_id.encode()), NO_SNIFFING, *headers], request_id=request_id)

    return refuse


def whole_answer(
    error: StylobateError,
    headers: Iterable[Header],
    *,
    request_id: str,
    instance: str = "",
    is_head: bool = False,
    is_last: bool = True,
) -> bytes:
    """Return the error as it goes over a connection, with these fields beside its own.

    :param is_head: of a request whose answer has no body.
    :param is_last: whether the connection is closed after it.
    """
    body = problem_body(error, request_id=request_id, instance=instance)
    fields = [*headers, *problem_headers(error), (b"content-length", b"%d" % len(body))]
    return _head(error.http_status, fields, request_id, is_last=is_last) + (b"" if is_head else body)


def bare_answer(headers: Iterable[Header], *, request_id: str, is_last: bool) -> bytes:
    """Return the answer of a request that asked for these fields alone, as it goes over a connection: 204."""
    return _head(204, headers, request_id, is_last=is_last)


def _head(status: int, headers: Iterable[Header], request_id: str, *, is_last: bool) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in (*headers, NO_SNIFFING, (b"x-request-id", request_id.encode()))]
    if is_last:
        lines.append(b"connection: close")
    return b"\r\n".join([*lines, b"", b""])
