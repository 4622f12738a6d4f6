"""Logs: one named logger per concern, JSON in production, readable on a console.

``app`` is what the platform does, ``access`` one line per request, ``audit`` what was done by whom, ``security`` what was
refused. Records pass a bounded queue and are rendered and written by one thread, off the request path; when the queue is
full, debug and access records are dropped and counted, anything graver waits.
"""

import atexit
import logging
import logging.handlers
import queue
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

Concern = Literal["app", "access", "audit", "security"]
CONCERNS: tuple[Concern, ...] = ("app", "access", "audit", "security")

_SECRET_KEY = re.compile(r"pass(word|wd)|secret|token|authorization|api[_-]?key|cookie|private", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]+")
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\n")
_URL_PASSWORD = re.compile(r"(\w+://[^:/@\s]+:)[^@\s]+@")
_REDACTED = "[redacted]"
_QUEUE_SIZE = 10_000
_MULTILINE = ("exception", "stack")


def get_logger(name: Concern = "app") -> structlog.stdlib.BoundLogger:
    """Return the logger of a concern. Event names are snake_case; everything else goes into keyword arguments."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(f"stylobate.{name}")
    return logger


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values of secret-looking keys and tokens inside texts; make control characters visible."""
    for key, value in event.items():
        if _SECRET_KEY.search(key) and value not in (None, ""):
            event[key] = _REDACTED
        elif isinstance(value, str):
            event[key] = _clean(value, keep_lines=key in _MULTILINE)
        elif isinstance(value, (dict, list, tuple)):
            event[key] = _deep(value)
    return event


def _deep(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _REDACTED if _SECRET_KEY.search(str(k)) and v else _deep(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_deep(item) for item in value]
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str, *, keep_lines: bool = False) -> str:
    text = _JWT.sub(_REDACTED, _BEARER.sub(r"\1" + _REDACTED, text))
    text = _URL_PASSWORD.sub(r"\1" + _REDACTED + "@", text)
    return _CONTROL.sub(lambda found: "\n" if keep_lines and found[0] == "\n" else f"\\x{ord(found[0]):02x}", text)


class _Queue(logging.handlers.QueueHandler):
    """Hands records to the writer thread; counts what it had to drop."""

    def __init__(self, records: "queue.Queue[Any]") -> None:
        super().__init__(records)
        self._records = records
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        droppable = record.levelno <= logging.DEBUG or record.name == "stylobate.access"
        try:
            self._records.put(record, block=not droppable, timeout=None if droppable else 1.0)
        except queue.Full:
            self.dropped += 1

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # rendered by the writer thread, in this process


class Logs:
    """The logging of this process; :func:`configure` makes it, :meth:`close` writes what is queued and stops."""

    def __init__(self, handler: logging.Handler) -> None:
        records: queue.Queue[Any] = queue.Queue(_QUEUE_SIZE)
        self._queue = _Queue(records)
        self._listener = logging.handlers.QueueListener(records, handler)
        self._handler = handler
        self._lock = threading.Lock()
        self._open = True
        self._listener.start()
        for name in CONCERNS:
            logger = logging.getLogger(f"stylobate.{name}")
            logger.handlers = [self._queue]
            logger.propagate = False
        root = logging.getLogger()
        root.handlers = [self._queue]
        atexit.register(self.close)

    @property
    def dropped(self) -> int:
        """How many debug and access records a full queue cost."""
        return self._queue.dropped

    def set_level(self, level: str, concern: Concern | None = None) -> None:
        """Change the level of one concern, or of all, at run time. Raises ValueError for an unknown level."""
        for name in CONCERNS if concern is None else (concern,):
            logging.getLogger(f"stylobate.{name}").setLevel(level.upper())

    def levels(self) -> dict[str, str]:
        """Return the level of each concern."""
        return {name: logging.getLevelName(logging.getLogger(f"stylobate.{name}").level) for name in CONCERNS}

    def close(self) -> None:
        """Write what is queued and stop the writer. May be called twice."""
        with self._lock:
            if not self._open:
                return
            self._open = False
        atexit.unregister(self.close)
        self._listener.stop()
        self._handler.close()


def configure(
    *,
    level: str = "info",
    json: bool | None = None,
    file: Path | None = None,
    max_bytes: int = 50 * 1024 * 1024,
    keep: int = 5,
    service: str = "",
) -> Logs:
    """Set up the logging of this process.

    :param level: of every concern; ``level`` may name some: ``info,access=warning``.
    :param json: one JSON object a line; None: unless standard error is a terminal.
    :param file: write there, rotated at ``max_bytes``, ``keep`` old files kept; None: standard error.
    :param service: stands in every record.
    """
    handler: logging.Handler
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", errors="backslashreplace"
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
    as_json = json if json is not None else not (file is None and sys.stderr.isatty())
    handler.setFormatter(_formatter(as_json=as_json, service=service))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.CallsiteParameterAdder(
                {structlog.processors.CallsiteParameter.MODULE, structlog.processors.CallsiteParameter.LINENO}
            ),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logs = Logs(handler)
    base, *named = [part.strip() for part in level.split(",")]
    logs.set_level(base)
    logging.getLogger().setLevel("WARNING")
    for part in named:
        concern, _, wanted = part.partition("=")
        if concern not in CONCERNS:
            raise ValueError(f"log level names no logger: {concern} (known: {', '.join(CONCERNS)})")
        logs.set_level(wanted, concern)
    return logs


def _formatter(*, as_json: bool, service: str) -> logging.Formatter:
    def add_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if service:
            event.setdefault("service", service)
        event["logger"] = str(event.get("logger", "")).removeprefix("stylobate.")
        return event

    renderer: Any = (
        structlog.processors.JSONRenderer(_dumps)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, add_service, redact, renderer],
    )


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
