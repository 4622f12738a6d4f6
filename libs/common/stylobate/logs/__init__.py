"""Logs: one named logger per concern, JSON in production, readable on a console.

``app`` is what the platform does, ``access`` one line per request, ``audit`` how the audit trail fares, ``security`` what was
refused. Records pass a bounded queue and are rendered and written by one thread, off the request path; when the queue is
full, debug and access records are dropped and counted, anything graver waits.
"""

import atexit
import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Literal, cast

import orjson

from stylobate.imports import without
from stylobate.logs.access import RequestLine, as_origin, timestamp
from stylobate.logs.redaction import redact
from stylobate.logs.writer import LogWriter, QueuedHandler, RotatedFile, StandardError

with without("rich"):  # 4 MB for coloured tracebacks, which no logger of ours shows
    import structlog

Concern = Literal["app", "access", "audit", "security"]
CONCERNS: tuple[Concern, ...] = ("app", "access", "audit", "security")
_ALWAYS_KEPT: tuple[Concern, ...] = ("audit", "security")
"""Concerns whose warnings nobody can switch off."""
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

Record = logging.LogRecord | RequestLine
_access = logging.getLogger("stylobate.access")


def get_logger(name: Concern = "app") -> structlog.stdlib.BoundLogger:
    """Return the logger of a concern. Event names are snake_case; everything else goes into keyword arguments."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(f"stylobate.{name}")
    return logger


def log_request(line: RequestLine) -> None:
    """Write a line of the access log at info: ``get_logger("access").info("request", **line.facts())`` at a tenth of its price.

    Where the call stands in the code is not told.
    """
    if not _access.isEnabledFor(logging.INFO):
        return
    for handler in _access.handlers:
        if isinstance(handler, QueuedHandler):
            handler.writer.put(line, droppable=True)
            return
    get_logger("access").info("request", **line.facts())  # logging is not set up: whoever listens gets an ordinary record


class Logs:
    """The logging of this process; :func:`configure` makes it, :meth:`close` writes what is queued and stops."""

    def __init__(self, writer: LogWriter[Record], *, as_json: bool) -> None:
        self._writer = writer
        self.as_json = as_json
        """Whether lines are for machines."""
        self._queue = QueuedHandler(writer)
        self._lock = threading.Lock()
        self._open = True
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
        return self._writer.dropped

    def set_level(self, level: str, concern: Concern | None = None) -> None:
        """Change the level of one concern, or of all, at run time. Raises ValueError for what :func:`check_level` refuses.

        A level for all leaves ``audit`` and ``security`` at warning where it would hide their warnings.
        """
        if concern is not None:
            check_level(level, concern)
        for name in CONCERNS if concern is None else (concern,):
            logging.getLogger(f"stylobate.{name}").setLevel(_kept(level, name).upper())

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
        self._writer.close()


def configure(
    *,
    level: str = "info",
    json: bool | None = None,
    file: Path | None = None,
    max_bytes: int = 50 * 1024 * 1024,
    keep: int = 5,
    origin: Mapping[str, str] | None = None,
) -> Logs:
    """Set up the logging of this process.

    :param level: of every concern; ``level`` may name some: ``info,access=warning``.
    :param json: one JSON object a line; None: unless standard error is a terminal.
    :param file: write there, rotated at ``max_bytes``, ``keep`` old files kept; None: standard error.
    :param origin: stands in every record: ``service``, ``node`` and whatever else tells where it comes from.
    """
    levels = parse_levels(level)
    output = RotatedFile(file, max_bytes=max_bytes, keep=keep) if file is not None else StandardError()
    as_json = json if json is not None else not (file is None and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.CallsiteParameterAdder(
                {structlog.processors.CallsiteParameter.FILENAME, structlog.processors.CallsiteParameter.LINENO}
            ),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logs = Logs(LogWriter(_renderer(as_json=as_json, origin=dict(origin or {})), output), as_json=as_json)
    for concern, wanted in levels.items():
        logs.set_level(wanted, concern)
    logging.getLogger().setLevel("WARNING")
    logging.captureWarnings(capture=True)
    return logs


def parse_levels(text: str) -> dict[Concern, str]:
    """Return each concern's level for ``info`` or ``info,access=warning``. Raises ValueError with a sentence for a person."""
    base, *named = [part.strip() for part in text.split(",")]
    check_level(base, "app")
    levels: dict[Concern, str] = {concern: _kept(base, concern) for concern in CONCERNS}
    for part in named:
        concern, _, wanted = part.partition("=")
        check_level(wanted, concern)
        levels[cast("Concern", concern)] = wanted
    return levels


def check_level(level: str, concern: str) -> None:
    """Refuse an unknown level or concern, and a level that would hide warnings of audit and security. Raises ValueError."""
    if concern not in CONCERNS:
        raise ValueError(f"there is no logger {concern!r} (known: {', '.join(CONCERNS)})")
    if level.upper() not in _LEVELS:
        raise ValueError(f"there is no log level {level!r} (known: {', '.join(_LEVELS).lower()})")
    if _kept(level, concern) != level:
        raise ValueError(f"{concern} cannot be set to {level}: its warnings are always kept")


def _kept(level: str, concern: str) -> str:
    """Return the level, or warning where it would hide warnings that are always kept."""
    is_hidden = concern in _ALWAYS_KEPT and level.upper() in _LEVELS[_LEVELS.index("WARNING") + 1 :]
    return "warning" if is_hidden else level


def _renderer(*, as_json: bool, origin: dict[str, str]) -> Callable[[Record], str]:
    """Return what makes a record a line."""
    render: Any = (
        structlog.processors.JSONRenderer(_dumps)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    formatter, end = _formatter(render, origin), as_origin(origin)

    def line(record: Record) -> str:
        if not isinstance(record, RequestLine):
            return formatter.format(record)
        if as_json and (text := record.as_json(end)) is not None:
            return text
        event = record.facts()
        event |= {"event": "request", "level": "info", "logger": "access", "timestamp": timestamp(record.at)}
        event |= origin
        return str(render(None, "info", redact(None, "info", event)))

    return line


def _formatter(render: Any, origin: dict[str, str]) -> logging.Formatter:
    def add_origin(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in origin.items():
            event.setdefault(name, value)
        event["logger"] = str(event.get("logger", "")).removeprefix("stylobate.")
        return event

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, add_origin, redact, render],
    )


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
