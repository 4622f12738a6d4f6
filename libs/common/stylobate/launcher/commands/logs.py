"""`stylobate logs`."""

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import typer

from stylobate.launcher.faces import CommandError
from stylobate.launcher.project import Project

_PAUSE_S = 0.2


def logs(*, follow: bool, lines: int) -> None:
    """Print the last lines of every log file, then what comes when following. Ctrl-C ends it."""
    folder = Project(Path.cwd()).logs
    if not folder.is_dir():
        raise CommandError("there are no logs here yet; `stylobate up` writes them")
    tails: dict[Path, Tail] = {}
    try:
        for tail in _tails(folder, tails):
            tail.print(deque(tail.lines(), maxlen=lines))
        while follow:
            time.sleep(_PAUSE_S)
            for tail in _tails(folder, tails):
                tail.print(tail.lines())
    except KeyboardInterrupt:
        return
    finally:
        for tail in tails.values():
            tail.close()


def _tails(folder: Path, known: dict[Path, "Tail"]) -> list["Tail"]:
    """Return the tails of all log files, also of those that came since."""
    return [known.setdefault(path, Tail(path)) for path in sorted(folder.glob("*.log"))]


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

    def print(self, lines: "deque[str] | Iterator[str]") -> None:
        """Print the lines with the file's name before them."""
        for line in lines:
            typer.echo(f"{self._path.stem:<12} {line}")

    def _is_current(self, file: BinaryIO) -> bool:
        """Return whether the open file is the one that stands under the name, and was not emptied."""
        opened = os.fstat(file.fileno())
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(opened, named) and opened.st_size >= file.tell()
