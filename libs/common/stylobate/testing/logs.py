"""Logs under test: records of standard logging that pytest collects, tracebacks plain."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from stylobate.logs import CONCERNS


def plain_logs() -> None:
    """Hand log records to standard logging, where nobody has set up logs; does nothing after the first time.

    Left alone, structlog prints each exception with every local variable: tokens among them, and slow enough to hold up a loop.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


@contextmanager
def kept_logging() -> Iterator[None]:
    """Put the process's logging back as it was found, whatever is set up inside."""
    loggers = [logging.getLogger(), *(logging.getLogger(f"stylobate.{name}") for name in CONCERNS)]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    was_configured, configuration = structlog.is_configured(), structlog.get_config()
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        structlog.configure(**configuration) if was_configured else structlog.reset_defaults()
