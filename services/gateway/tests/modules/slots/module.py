"""Actions whose input stands in a URL."""

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

from stylobate.modules import ActionContext, BaseModule


class Kind(StrEnum):
    """What a slot is for."""

    CHECK = "check"
    TREATMENT = "treatment"


@dataclass
class ListSlots:
    """Which slots."""

    doctor: str
    day: date | None = None
    after: datetime | None = None
    kind: Kind = Kind.CHECK
    order: Literal["time", "doctor"] = "time"
    rooms: list[int] = field(default_factory=list)
    tags: list[str] | None = None
    minutes: int | None = None
    price: float = 0.0
    is_free: bool = True


@dataclass
class SlotReference:
    """Names a slot."""

    slot_id: str


class SlotsModule(BaseModule):
    """Answers with what it was given."""

    async def list_slots(self, ctx: ActionContext, wanted: ListSlots) -> dict[str, Any]:
        """Return what was asked for."""
        return asdict(wanted)

    async def get_slot(self, ctx: ActionContext, slot: SlotReference) -> dict[str, Any]:
        """Return the reference."""
        return asdict(slot)

    async def next_slot(self, ctx: ActionContext) -> str:
        """Return a name."""
        return "next"

    async def book(self, ctx: ActionContext, booking: dict[str, Any]) -> dict[str, Any]:
        """Return the booking."""
        return booking

    async def free(self, ctx: ActionContext, slot: SlotReference) -> dict[str, Any]:
        """Return the reference."""
        return asdict(slot)

    async def echo(self, ctx: ActionContext, body: dict[str, Any]) -> dict[str, Any]:
        """Return what came."""
        return body

    async def slow(self, ctx: ActionContext) -> float:
        """Return how long this may take from now on, in seconds."""
        return (ctx.deadline - ctx.now).total_seconds()
