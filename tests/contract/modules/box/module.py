"""Actions over every shape of input that a URL or a body can hold."""

from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Literal

from pydantic import Field
from stylobate.errors import NotFoundError
from stylobate.modules import ActionContext, BaseModule, RefusedError

Name = Annotated[str, Field(pattern="^[a-z]{1,20}$")]


class BoxFullError(RefusedError):
    """Nothing more goes in."""

    reason = "BOX_FULL"
    default_detail = "The box is full."


@dataclass
class Find:
    """Which boxes."""

    colour: Literal["red", "green"]
    day: date | None = None
    sizes: list[Annotated[int, Field(ge=0, le=1000)]] = field(default_factory=list)
    weight: Annotated[float, Field(ge=0, le=1e6)] | None = None
    is_open: bool = True
    most: Annotated[int, Field(ge=1, le=100)] = 20


@dataclass
class Reference:
    """One box."""

    name: Name


@dataclass
class Thing:
    """What goes into a box."""

    label: Name
    count: Annotated[int, Field(ge=1, le=10)] = 1


@dataclass
class Fill:
    """Things for a box."""

    name: Name
    things: Annotated[list[Thing], Field(max_length=20)]
    note: Annotated[str, Field(max_length=10, pattern="^[ -~]*$")] = ""


@dataclass
class Box:
    """A box as callers see it."""

    name: str
    things: list[Thing]


class BoxModule(BaseModule):
    """Keeps each box as a state object."""

    async def find(self, ctx: ActionContext, wanted: Find) -> list[Box]:
        """Return boxes of that colour."""
        return [Box(wanted.colour, [])][: wanted.most]

    async def read(self, ctx: ActionContext, box: Reference) -> Box:
        """Return the box."""
        found = await ctx.state.get("kept", box.name)
        if found is None:
            raise NotFoundError
        return Box(box.name, found.data)

    async def fill(self, ctx: ActionContext, fill: Fill) -> Box:
        """Put things in."""
        if len(fill.things) > 10:
            raise BoxFullError
        if not fill.things:
            ctx.refuse("BOX_EMPTY", "There is nothing to put in.")
        await ctx.state.put("kept", fill.name, fill.things)
        return Box(fill.name, fill.things)

    async def drop(self, ctx: ActionContext, box: Reference) -> None:
        """Drop the box."""
        await ctx.state.delete("kept", box.name)
