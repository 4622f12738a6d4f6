"""What an operation may answer with: problems with the codes that go with each status, and the headers of every answer."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from stylobate.http.problem import MEDIA_TYPE

from stylobate_gateway.idempotency import REPLAYED
from stylobate_gateway.reasons import known_reasons

_ALWAYS = (400, 403, 405, 408, 413, 429, 431, 500, 503, 504)
"""What stands before every operation: the listener, the edge, parts that are down, time that runs out."""
_BODY = (415, 422)
_CHANGE = (409, 422)
"""What a key may be refused with."""
_AREAS = {
    "Site": (),
    "Accounts": ("auth",),
    "State": ("state", "actions"),  # before-hooks are actions'
    "Limits": ("ratelimit",),
    "Audit": ("auth",),
    "Actions": ("actions", "state", "realtime"),  # what a handler calls it may let through
}
_OPEN = frozenset({"State", "Actions"})
"""Where modules refuse with codes of their own."""
_TITLES = {
    400: "The request cannot be read",
    401: "No token, or one that does not hold",
    403: "Not allowed, or banned",
    404: "Unknown",
    405: "Another method is needed",
    408: "The request did not come in time",
    409: "The rules do not allow it now",
    410: "It was there, and is not any more",
    412: "The version is not one that If-Match or If-None-Match asks for",
    413: "The body is too large",
    415: "A body of another type",
    422: "The input is not valid",
    429: "A limit is reached",
    431: "The head is too large",
    500: "A defect on our side",
    503: "A part of the platform does not answer",
    504: "It took too long",
}
_REFERENCE = "#/components/schemas/"
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
        "description": 'The object\'s version: `"3"`, compressed `"3-gzip"`. Good for If-Match and If-None-Match.',
        "required": True,
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]*(-gzip)?"$'},
    },
    REPLAYED: {
        "description": "This is the answer of an earlier request with the same `Idempotency-Key`; nothing more happened.",
        "schema": {"type": "string", "const": "true"},
    },
    "Allow": {"description": "The methods of the resource.", "required": True, "schema": _TEXT},
    "WWW-Authenticate": {
        "description": "The challenge (RFC 6750); with `error` where a token was refused.",
        "required": True,
        "schema": _TEXT,
    },
}
_ON_EVERY = ("X-Request-Id", "RateLimit-Policy", "RateLimit")
_OF_STATUS = {
    "304": ("ETag",),
    "401": ("WWW-Authenticate",),
    "403": ("Retry-After",),
    "405": ("Allow",),
    "409": ("Retry-After",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
_OF_KEY = {"2": (REPLAYED,)}
OBJECT = "#/components/schemas/StateObject"


Responses = dict[int | str, dict[str, Any]]


def refuses(area: str, *statuses: int, is_public: bool = False, has_body: bool = False, is_change: bool = False) -> Responses:
    """Return the `responses` of an operation that may be refused with these statuses, beside those that every one has.

    :param area: ``Site``, ``Accounts``, ``State``, ``Limits`` or ``Actions``: whose codes go with them.
    :param is_public: whether credentials are not looked at.
    :param is_change: whether it takes an ``Idempotency-Key``.
    """
    chosen = {*statuses, *_ALWAYS, *(() if is_public else (401,)), *(_BODY if has_body else ()), *(_CHANGE if is_change else ())}
    return {
        status: {
            "description": _TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_REFERENCE}{area}Problem{status}"}}},
        }
        for status in sorted(chosen)
        if _codes(area, status)
    }


def problem_schemas(base: Mapping[str, Any], names: Collection[str], own: Collection[str]) -> dict[str, Any]:
    """Return the schemas that :func:`refuses` refers to.

    :param base: the schema of any problem.
    :param names: those that are used.
    :param own: reasons that modules name in their code.
    """
    schemas = {}
    for area in _AREAS:
        for status in _TITLES:
            name = f"{area}Problem{status}"
            if name in names:
                codes = _codes(area, status)
                more = sorted(own) if area in _OPEN and status == 409 else []  # noqa: PLR2004  what `refuse` answers
                schemas[name] = _schema(base, status, [*codes, *more], is_open=area in _OPEN) | {"title": name}
    return schemas


@cache
def _codes(area: str, status: int) -> tuple[str, ...]:
    areas = {"common", "gateway", *_AREAS[area]}
    return tuple(sorted(name for name, reason in known_reasons().items() if reason.status == status and reason.area in areas))


def _schema(base: Mapping[str, Any], status: int, codes: list[str], *, is_open: bool) -> dict[str, Any]:
    others = "a module may refuse with others" if is_open else "later versions may know more"
    code = {
        "anyOf": [{"type": "string", "enum": codes}, {"type": "string", "pattern": "^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$"}],
        "description": f"The reason; match on it. These are known, and {others}.",
    }
    properties = base["properties"] | {"status": {"type": "integer", "const": status}, "code": code}
    return {**base, "description": f"{_TITLES[status]} (RFC 9457).", "properties": properties}


def headers_of(status: str, response: dict[str, Any], *, takes_key: bool) -> dict[str, Any]:
    """Return the headers of a response by its status and content; ``takes_key``: the request may have an Idempotency-Key."""
    is_object = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref") == OBJECT
    names = (*_ON_EVERY, *_OF_STATUS.get(status, ()), *(("ETag",) if is_object else ()))
    if takes_key:
        names += _OF_KEY.get(status[0], ())
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
