"""The way from a log call to the file: a bounded queue and a thread that renders and writes what gathered there.

The thread is woken once for a batch, not for a record, and writes a batch at once: each wake-up and each write takes the
interpreter's lock away from the event loop, which costs the requests far more than the rendering does.
"""

import logging
import logging.handlers
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Generic, Protocol, TypeVar

from stylobate.logs.access import RequestLine

T = TypeVar("T")

_QUEUE_SIZE = 10_000
_GATHER_S = 0.05
_ROOM_S = 1.0


class Output(Protocol):
    """Where lines go."""

    def write(self, lines: list[str]) -> None:
        """Write the lines, each without its end."""

    def close(self) -> None:
        """Let go of what was opened."""


class StandardError:
    """Lines on standard error, as it is when logging is set up."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, lines: list[str]) -> None:
        """See Output."""
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """See Output."""


class RotatedFile:
    """Lines in a file; a full one is put aside as ``<name>.1`` and so on."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_bytes = max_bytes
        self._handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", errors="backslashreplace"
        )
        self._size = path.stat().st_size

    def write(self, lines: list[str]) -> None:
        """See Output."""
        whole = "\n".join(lines) + "\n"
        size = len(whole.encode("utf-8", "backslashreplace"))
        if self._size + size <= self._max_bytes:  # nearly always
            self._put(whole)
            self._size += size
            return
        fitting: list[str] = []
        for line in lines:
            size = len(line.encode("utf-8", "backslashreplace")) + 1
            if self._size and self._size + size > self._max_bytes:
                self._put("".join(fitting))
                fitting = []
                self._handler.doRollover()
                self._size = 0
            fitting.append(f"{line}\n")
            self._size += size
        self._put("".join(fitting))

    def _put(self, text: str) -> None:
        stream = self._handler.stream
        if text and stream is not None:
            stream.write(text)
            stream.flush()

    def close(self) -> None:
        """See Output."""
        self._handler.close()


class LogWriter(Generic[T]):
    """Takes records from any thread and writes them in batches. When the queue is full those that may be dropped are counted.

    :param render: makes a record a line; runs in the writer's thread.
    """

    def __init__(self, render: Callable[[T], str], output: Output) -> None:
        self._render = render
        self._output = output
        self._waiting: deque[T] = deque()
        self._some = threading.Event()
        self._soon = threading.Event()
        self._is_closing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, record: T, *, droppable: bool = False, urgent: bool = False) -> None:
        """Leave a record to be written: soon, an urgent one at once. Waits up to a second for room, or drops."""
        if self._is_closing or (len(self._waiting) >= _QUEUE_SIZE and (droppable or not self._has_room())):
            self.dropped += 1
            return
        self._waiting.append(record)
        if urgent:
            self._soon.set()
        if not self._some.is_set():
            self._some.set()

    def close(self) -> None:
        """Write what waits and end."""
        self._is_closing = True
        self._soon.set()
        self._some.set()
        self._thread.join()
        self._output.close()

    def _has_room(self) -> bool:
        until = monotonic() + _ROOM_S
        self._soon.set()
        while len(self._waiting) >= _QUEUE_SIZE and monotonic() < until:
            threading.Event().wait(0.01)
        return len(self._waiting) < _QUEUE_SIZE

    def _run(self) -> None:
        while not (self._is_closing and not self._waiting):
            self._some.wait()
            self._soon.wait(_GATHER_S)
            self._some.clear()
            self._soon.clear()
            self._write()

    def _write(self) -> None:
        lines = []
        for _ in range(len(self._waiting)):
            record = self._waiting.popleft()
            try:
                lines.append(self._render(record))
            except Exception as error:  # noqa: BLE001  one record that cannot be rendered must not silence the others
                lines.append(f"a log record could not be rendered: {type(error).__name__}: {error}")
        if not lines:
            return
        try:
            self._output.write(lines)
        except (OSError, ValueError) as error:  # a full disk, a closed stream: the platform goes on without its log
            self.dropped += len(lines)
            print(f"{len(lines)} log lines could not be written: {error}", file=sys.__stderr__)


class QueuedHandler(logging.Handler):
    """Hands the records of the standard library's loggers to the writer."""

    def __init__(self, writer: "LogWriter[logging.LogRecord | RequestLine]") -> None:
        super().__init__()
        self.writer = writer

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue the record; without the lock of other handlers: the queue needs none."""
        grave = record.levelno >= logging.WARNING
        self.writer.put(record, droppable=record.levelno <= logging.DEBUG or record.name == "stylobate.access", urgent=grave)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record."""
        self.handle(record)
