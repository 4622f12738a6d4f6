"""What the witness module wrote down."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from stylobate.testing.until import wait_until

MODULE = Path(__file__).parent / "modules" / "witness"


class Witness:
    """Reads the file that the module of that name writes."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def environ(self) -> dict[str, str]:
        """The setting that makes the module write there."""
        return {"STYLOBATE_MODULE_WITNESS_FILE": str(self.file)}

    def seen(self) -> list[dict[str, Any]]:
        """Return every event that reached the hook, in that order."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def missing(self, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the (subject, event) that have not reached the hook; a creation's event is empty."""
        return wanted - {(entry["subject"], entry["event"]) for entry in self.seen()}

    def saw_all(self, wanted: set[tuple[str, str]], within: timedelta) -> bool:
        """Wait until every (subject, event) has reached the hook; return whether they did in time."""
        return wait_until(lambda: not self.missing(wanted), within)
