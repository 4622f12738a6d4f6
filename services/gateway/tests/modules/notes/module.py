"""Actions that show what the gateway does with calls."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.modules import ActionContext, BaseModule, RefusedError


@dataclass
class Keep:
    """A note and where to keep it."""

    places: list[str]
    text: str = ""


class NoteLostError(RefusedError):
    """Nobody knows where it is."""

    reason = "NOTE_LOST"
    default_detail = "The note is lost."


class NotesModule(BaseModule):
    """Echoes, counts, fails."""

    calls = 0

    async def echo(self, ctx: ActionContext, body: dict[str, Any]) -> dict[str, Any]:
        """Return what came."""
        return body

    async def count(self, ctx: ActionContext) -> dict[str, int]:
        """Return how often this was asked."""
        self.calls += 1
        return {"calls": self.calls}

    async def whoami(self, ctx: ActionContext) -> dict[str, str]:
        """Return who is asking."""
        return {"id": ctx.principal.id}

    async def shout(self, ctx: ActionContext) -> None:
        """Refuse by a rule of the module's own."""
        ctx.refuse("NOTE_LOUD", "Say it <more> quietly.")

    async def fail(self, ctx: ActionContext) -> None:
        """Raise what nobody foresaw."""
        raise RuntimeError("/etc/passwd says: secret")

    async def limited(self, ctx: ActionContext) -> None:
        """Refuse as a limit does."""
        numbers = {"policy": "notes.limited", "quota": "30", "window": "60", "remaining": "0", "reset": "60"}
        raise RateLimitedError("Enough.", metadata=numbers, retry_after=timedelta(milliseconds=1500))

    async def keep(self, ctx: ActionContext, note: Keep) -> None:
        """Send on what came."""
        for place in note.places:
            await ctx.state.put("open", place, {"text": note.text})
