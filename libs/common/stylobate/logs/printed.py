"""What is printed in a process whose log is read by machines: lines of the log like any other."""

import io
import threading

import structlog

_LONGEST = 8192
"""Characters of a line; a longer one becomes several."""


class PrintedLines(io.TextIOBase):
    """Stands in for standard output; each line that a thread prints becomes ``printed`` of the logger ``app``."""

    def __init__(self) -> None:
        self._begun = threading.local()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str, /) -> int:
        """Log the lines that the text ends, and keep the rest until its end comes, or too much of it has."""
        *lines, rest = (self._rest + text).split("\n")
        while len(rest) > _LONGEST:
            lines.append(rest[:_LONGEST])
            rest = rest[_LONGEST:]
        self._begun.text = rest
        for line in lines:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """Log what has been written of a line."""
        rest, self._begun.text = self._rest, ""
        self._say(rest)

    @property
    def _rest(self) -> str:
        text: str = getattr(self._begun, "text", "")
        return text

    def _say(self, line: str) -> None:
        if line:
            structlog.stdlib.get_logger("stylobate.app").info("printed", text=line)
