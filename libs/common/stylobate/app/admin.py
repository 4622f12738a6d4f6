"""The admin listener: liveness, readiness, status, metrics and log levels. For operators, never for clients."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from stylobate.app.admin_listener import peer_of
from stylobate.logs import Concern, Logs, check_level, get_logger
from stylobate.telemetry import REGISTRY

if TYPE_CHECKING:
    from stylobate.app.host import Host

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
_Answer = tuple[int, str, bytes]
_JSON = "application/json"
_log = get_logger("security")
_Level = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(lambda level: level.lower() if isinstance(level, str) else level),  # they are shown in capitals
]


class AdminApplication:
    """ASGI. ``/healthz`` asks no dependency; ``/readyz`` is 503 only while starting, draining or behind on migrations."""

    def __init__(self, host: "Host", logs: Logs | None) -> None:
        self._host = host
        self._logs = logs
        self._levels = TypeAdapter(dict[Concern, _Level])

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        status, kind, body = await self._answer(scope, receive)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> _Answer:  # noqa: PLR0911  a table of routes
        match scope["method"], scope["path"]:
            case "GET", "/healthz":
                return _json(200, {"status": "alive"})
            case "GET", "/readyz":
                return _json(200 if self._host.is_ready else 503, await self._host.status())
            case "GET", "/status":
                return _json(200, await self._host.status())
            case "GET", "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY)
            case "GET", "/log-levels":
                return _json(200, self._shown_levels())
            case "PUT", "/log-levels":
                return self._set_levels(await body_of(receive), peer_of(scope))
            case _:
                return _json(404, {"code": "NOT_FOUND", "detail": "healthz, readyz, status, metrics, log-levels"})

    def _set_levels(self, body: bytes, peer: str) -> _Answer:
        """Take ``{"access": "warning"}``, all of it or nothing; the change holds until the process ends.

        Who asked is logged first, at the level that held until then.
        """
        try:
            levels = self._levels.validate_json(body)
            for concern, level in levels.items():
                check_level(level, concern)
        except ValidationError as error:
            found = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
            return _json(422, {"code": "INVALID_INPUT", "detail": found})
        except ValueError as error:
            return _json(422, {"code": "INVALID_INPUT", "detail": str(error)})
        _log.warning("log_levels_changed", peer=peer, before=self._shown_levels(), asked=levels)
        if self._logs is None:
            return _json(200, {})
        for concern, level in levels.items():
            self._logs.set_level(level, concern)
        return _json(200, self._shown_levels())

    def _shown_levels(self) -> dict[str, str]:
        """Return the levels in the words that PUT takes."""
        return {concern: level.lower() for concern, level in self._logs.levels().items()} if self._logs else {}


async def body_of(receive: Receive) -> bytes:
    """Return the whole body of a request."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _json(status: int, value: object) -> _Answer:
    return status, _JSON, orjson.dumps(value)
