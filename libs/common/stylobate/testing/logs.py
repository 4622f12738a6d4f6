"""Logs under test: records of standard logging that pytest collects, tracebacks plain."""

import structlog


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
