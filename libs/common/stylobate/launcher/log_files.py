"""The log files of a project: followed whatever becomes of them, and merged by time."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

_PATTERNS = ("*.log", "*.out")
"""What is logged, and what is merely printed."""
_SHOWN_ALREADY = "up.out"
"""What `up --detach` printed on its way."""
_POSTGRES = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC ")
_VALKEY = re.compile(r"\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d+) ")


class LogLine(NamedTuple):
    """One line of a log file."""

    time: str
    """ISO 8601 in UTC; a line that does not tell has that of the line before it, the first ones that of the first to tell."""
    source: str
    """The process: the file's name without its suffix."""
    text: str
    """As it stands in the file."""
    facts: dict[str, object] | None
    """What it says, when it is one of the platform's own; None for what a program printed and for the servers' lines."""


class LogFiles:
    """Every log file of a folder, also those that come later."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tails: dict[Path, Tail] = {}
        self._times: dict[Path, str] = {}

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails.values():
            tail.close()

    def fresh(self) -> list[LogLine]:
        """Return the complete lines that came since the last time, of all files, by time."""
        lines: list[LogLine] = []
        for path in sorted(found for pattern in _PATTERNS for found in self._folder.glob(pattern)):
            if path.name != _SHOWN_ALREADY:
                tail = self._tails.setdefault(path, Tail(path))
                lines += self._timed(path, list(tail.lines()))
        return sorted(lines, key=lambda line: line.time.removesuffix("Z"))  # a whole second is written without a fraction

    def _timed(self, path: Path, texts: list[str]) -> list[LogLine]:
        told = [(text, facts := _facts(text), str(facts["timestamp"]) if facts else _server_time(text)) for text in texts]
        time = self._times.get(path) or next((time for _, _, time in told if time), "") or _modified(path)
        lines = []
        for text, facts, own in told:
            time = own or time
            lines.append(LogLine(time, path.stem, text, facts))
        if lines:
            self._times[path] = time
        return lines


def _facts(text: str) -> dict[str, object] | None:
    if not text.startswith("{"):
        return None
    try:
        facts = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return facts if "timestamp" in facts and "event" in facts else None


def _server_time(text: str) -> str:
    """Return the time in front of a line of PostgreSQL's or Valkey's own log; empty for another one."""
    if found := _POSTGRES.match(text):
        return _iso(datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC))
    if found := _VALKEY.match(text):
        return _iso(datetime.strptime(found[1], "%d %b %Y %H:%M:%S.%f").replace(tzinfo=UTC))
    return ""


def _modified(path: Path) -> str:
    try:
        return _iso(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    except FileNotFoundError:  # between its rotation and its next line
        return _iso(datetime.now(UTC))


def _iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


class Tail:
    """One log file, read on whatever becomes of it: a rotated one is read to its end before the next is begun."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._begun = b""

    def close(self) -> None:
        """Close the file; the next look begins at its beginning."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def lines(self) -> Iterator[str]:
        """Yield the complete lines that came since the last time."""
        while True:
            if self._file is None:
                try:
                    self._file = self._path.open("rb")
                except FileNotFoundError:  # between its rotation and its next line
                    return
            is_current = self._is_current(self._file)  # asked before reading: what was written until then is read
            for line in self._file:
                self._begun += line
                if self._begun.endswith(b"\n"):
                    yield self._begun.decode(errors="replace").rstrip("\r\n")
                    self._begun = b""
            if is_current:
                return
            self.close()

    def _is_current(self, file: BinaryIO) -> bool:
        """Return whether the open file is the one that stands under the name, and was not emptied."""
        opened = os.fstat(file.fileno())
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(opened, named) and opened.st_size >= file.tell()
