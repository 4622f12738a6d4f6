"""Server-sent events (WHATWG HTML §9.2) as a client reads them."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; a sign of life has neither kind nor data."""

    id: str
    kind: str
    data: Any
    """What the data say as JSON."""
    retry: str = ""


class ServerEventReader:
    """Makes events of the lines of an answer."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def line(self, line: str) -> ServerEvent | None:
        """Take the next line; return the event that it ends."""
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        data = json.loads(fields["data"]) if "data" in fields else None
        return ServerEvent(fields.get("id", ""), fields.get("event", ""), data, fields.get("retry", ""))
