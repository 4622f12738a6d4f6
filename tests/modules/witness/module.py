"""Writes down what reaches its hook; the file outlives a killed process."""

import json
import os
from pathlib import Path

from stylobate.modules import BaseModule, Event, HookContext, on


class WitnessModule(BaseModule):
    """A hook for every event of state."""

    @on("state.*.*")
    async def remember(self, ctx: HookContext, event: Event) -> None:
        """Append one line: which event, and as whom and where the hook ran."""
        data = event.value()
        self._append({
            "id": event.id,
            "type": event.type,
            "subject": event.subject,
            "version": data["version"],
            "event": data.get("event") or "",
            "actor": data["actor"],
            "kind": ctx.principal.kind,
            "as": ctx.principal.id,
            "for": ctx.principal.act_for,
            "pid": os.getpid(),
        })  # fmt: skip

    def _append(self, line: dict[str, object]) -> None:
        descriptor = os.open(Path(self.settings["file"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")  # one write: whole lines, whoever else writes
        finally:
            os.close(descriptor)
