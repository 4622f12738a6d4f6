"""Errors over HTTP: RFC 9457 ``application/problem+json``."""

import re
from typing import Any

import orjson
from stylobate.errors import StylobateError

from stylobate_gateway.errors import ContentCodingUnsupportedError

MEDIA_TYPE = b"application/problem+json"
_MOST_VIOLATIONS = 100
"""In one document, as in a status between services."""
_UNQUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
"""What may not stand in an ``error_description`` (RFC 6750 §3)."""


def type_of(reason: str) -> str:
    """Return the problem type, a relative reference that the gateway answers with a page."""
    return f"/problems/{reason.lower().replace('_', '-')}"


def problem_body(error: StylobateError, *, instance: str, request_id: str) -> bytes:
    """Return the document."""
    document: dict[str, Any] = {
        "type": type_of(error.reason),
        "title": error.title,
        "status": error.http_status,
        "detail": error.detail,
        "code": error.reason,
        "instance": instance,
        "request_id": request_id,
    }
    if error.violations:
        document["errors"] = [{"pointer": found.pointer, "detail": found.detail} for found in error.violations[:_MOST_VIOLATIONS]]
    if error.metadata:
        document["metadata"] = error.metadata
    return orjson.dumps(document)


def problem_headers(error: StylobateError) -> list[tuple[bytes, bytes]]:
    """Return the headers that go with the error beside its type and length."""
    headers = [(b"content-type", MEDIA_TYPE)]
    if error.http_status == 401:  # noqa: PLR2004  HTTP
        told = _UNQUOTABLE.sub("'", error.detail)
        parameters = f', error="invalid_token", error_description="{told}"' if error.reason.startswith("TOKEN_") else ""
        headers.append((b"www-authenticate", f'Bearer realm="stylobate"{parameters}'.encode()))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, -int(-error.retry_after.total_seconds() // 1))).encode()))
    if error.reason == ContentCodingUnsupportedError.reason:
        headers.append((b"accept-encoding", b"identity"))  # RFC 9110 §12.5.3
    if error.http_status == 405:  # noqa: PLR2004  HTTP
        headers.append((b"allow", error.metadata["allow"].encode()))
    return headers
