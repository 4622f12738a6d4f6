"""The admin listener: liveness, readiness, status, metrics and log levels. For operators, never for clients."""

from typing import Annotated, Any, Literal, Protocol

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from stylobate.app.admin_listener import PATHS, Answer, json_answer
from stylobate.errors import InvalidInputError, NotFoundError
from stylobate.logs import Concern, Logs, check_level, get_logger
from stylobate.telemetry import REGISTRY
from stylobate.validation import said

_log = get_logger("security")
_Level = Annotated[
    Literal["debug", "info", "warning", "error", "critical"],
    BeforeValidator(lambda level: level.lower() if isinstance(level, str) else level),  # they are shown in capitals
]


class Process(Protocol):
    """What is asked of :class:`stylobate.app.host.Host`."""

    @property
    def is_ready(self) -> bool:
        """Whether it takes requests."""

    async def status(self) -> dict[str, Any]:
        """Return what ``/status`` shows."""


class AdminApplication:
    """``/healthz`` asks no dependency; ``/readyz`` is 503 only while starting, draining or behind on migrations."""

    def __init__(self, process: Process, logs: Logs | None) -> None:
        self._process = process
        self._logs = logs
        self._levels = TypeAdapter(dict[Concern, _Level])

    async def __call__(self, method: str, path: str, body: bytes, peer: str, accept: str = "") -> Answer:
        """Answer one request."""
        match method, path:
            case "GET", "/healthz":
                return json_answer(200, {"status": "alive"})
            case "GET", "/readyz":
                return json_answer(200 if self._process.is_ready else 503, await self._process.status())
            case "GET", "/status":
                return json_answer(200, await self._process.status())
            case "GET", "/metrics":
                # what shows metrics can also serve and push them, and imports two servers and a client for it
                from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

                encode, kind = choose_encoder(accept)  # exemplars are in OpenMetrics alone
                return 200, kind, encode(REGISTRY)
            case "GET", "/log-levels":
                return json_answer(200, self._shown_levels())
            case "PUT", "/log-levels":
                return self._set_levels(body, peer)
            case _:
                raise NotFoundError(PATHS)

    def _set_levels(self, body: bytes, peer: str) -> Answer:
        """Take ``{"access": "warning"}``, all of it or nothing; the change holds until the process ends.

        Who asked is logged first, at the level that held until then.
        """
        try:
            levels = self._levels.validate_json(body)
            for concern, level in levels.items():
                check_level(level, concern)
        except ValidationError as error:
            found = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {said(entry)}" for entry in error.errors())
            raise InvalidInputError(found) from None
        except ValueError as error:
            raise InvalidInputError(str(error)) from None
        _log.warning("log_levels_changed", peer=peer, before=self._shown_levels(), asked=levels)
        if self._logs is None:
            return json_answer(200, {})
        for concern, level in levels.items():
            self._logs.set_level(level, concern)
        return json_answer(200, self._shown_levels())

    def _shown_levels(self) -> dict[str, str]:
        """Return the levels in the words that PUT takes."""
        return {concern: level.lower() for concern, level in self._logs.levels().items()} if self._logs else {}
