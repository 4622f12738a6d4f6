"""The headers of answers, as the document describes them."""

from typing import Any

_TEXT = {"type": "string"}
HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "Names the request in the log; the client's own where it sent one.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "RateLimit-Policy": {
        "description": 'Quota and window (seconds) of each limit that counts the request: `"edge.user";q=100;w=1`. Absent '
        "while the limiter is degraded.",
        "schema": _TEXT,
    },
    "RateLimit": {
        "description": 'What is left of each, and when it is full again (seconds): `"edge.user";r=99;t=1`.',
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 1}},
    "ETag": {
        "description": 'The object\'s version: `"3"`. Good for If-Match and If-None-Match.',
        "required": True,
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]*"$'},
    },
    "Allow": {"description": "The methods of the resource.", "required": True, "schema": _TEXT},
    "WWW-Authenticate": {
        "description": "The challenge (RFC 6750); with `error` where a token was refused.",
        "required": True,
        "schema": _TEXT,
    },
}
_ALWAYS = ("X-Request-Id", "RateLimit-Policy", "RateLimit")
_OF_STATUS = {"304": ("ETag",), "401": ("WWW-Authenticate",), "405": ("Allow",), "429": ("Retry-After",), "503": ("Retry-After",)}
OBJECT = "#/components/schemas/StateObject"


def headers_of(status: str, response: dict[str, Any]) -> dict[str, Any]:
    """Return the headers of a response by its status and content."""
    is_object = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref") == OBJECT
    names = (*_ALWAYS, *_OF_STATUS.get(status, ()), *(("ETag",) if is_object else ()))
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
