"""Errors over HTTP: RFC 9457 ``application/problem+json``, and the pages that their types point to."""

import re
from html import escape
from typing import Any

import orjson
from stylobate.errors import StylobateError, title_of

MEDIA_TYPE = b"application/problem+json"
_REASON = re.compile(r"[A-Z][A-Z0-9_]*")
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
        document["errors"] = [{"pointer": found.pointer, "detail": found.detail} for found in error.violations]
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
    if error.http_status == 405:  # noqa: PLR2004  HTTP
        headers.append((b"allow", error.metadata["allow"].encode()))
    return headers


def problem_page(name: str) -> str | None:
    """Return the HTML page of a problem type by the last segment of its path; None for a name that is no reason's."""
    reason = name.upper().replace("-", "_")
    if not _REASON.fullmatch(reason):
        return None
    known = StylobateError.registry.get(reason)
    # the service that owns the reason may live in another process: then the name itself is all that is known here
    meaning = known.default_detail if known is not None else "See docs/reference/errors.md for its meaning."
    cure = known.cure if known is not None else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title_of(reason))}</title>"
        f"<body style='font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto'><h1>{escape(title_of(reason))}</h1>"
        f"<p><code>{escape(reason)}</code></p><p>{escape(meaning)}</p><p>{escape(cure)}</p></body></html>"
    )
