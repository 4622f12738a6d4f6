"""Shapes of limits and bans."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from stylobate_gateway.schemas.common import TEXT, Input, in_path

BanLevel = Literal["ip", "user", "api_key", "session", "tenant"]
Level = Annotated[BanLevel, in_path("^(ip|user|api_key|session|tenant)$", 16, "user", "What kind of subject.")]
OfLevel = Annotated[Literal["", "ip", "user", "api_key", "session", "tenant"], Query(description="Only bans of this level.")]
Subject = Annotated[
    str,
    in_path(
        TEXT,
        512,
        "01a20883-0000-7000-8000-000000000000",
        "Who: an id, an address in any form (of IPv6 its /64 is meant), or a network: 192.0.2.0/24.",
    ),
]


class BanPut(Input):
    """For how long, and why."""

    expires_in: int | None = Field(
        None, ge=1, le=315_360_000, description="Seconds that the ban lasts; without it until it is lifted.", examples=[3600]
    )
    reason: str = Field(
        "", max_length=512, description="For operators; who is banned is not told.", json_schema_extra={"pattern": TEXT}
    )


class Ban(BaseModel):
    """A ban in force."""

    level: str
    id: str = Field(description="Who: an id, an address as limits count it, or a network.")
    reason: str
    rule: str | None = Field(description="The rule whose refusals led to it; null: an operator put it.")
    actor: str | None = Field(description="Who put it; null where a rule did.")
    strikes: int = Field(ge=0, description="Automatic bans in a row, this one included.")
    started_at: datetime
    until: datetime | None = Field(description="null: until it is lifted.")


class BanList(BaseModel):
    """A page of bans, by level and subject."""

    items: list[Ban]
    next_page_token: str | None = Field(description="null on the last page.")


RuleName = Annotated[
    str, Query(min_length=1, max_length=128, pattern=TEXT, description="The rule's name.", examples=["edge.user"])
]
Counted = Annotated[
    str,
    Query(
        min_length=1,
        max_length=1024,
        pattern=TEXT,
        description="Whom the rule counts: an id, or an address in any form. Several parts are joined by `|`.",
    ),
]


class Standing(BaseModel):
    """How a limit stands."""

    name: str
    limit: int = Field(ge=1, description="Charges in a window.")
    window: int = Field(ge=1, description="Seconds, rounded up.")
    remaining: int = Field(ge=0, description="Charges left now.")
    reset: int = Field(ge=0, description="Seconds until it is full again, rounded up.")


class Standings(BaseModel):
    """The limits that count you, as they stand: those of every request, then those of actions that you may have called."""

    items: list[Standing]
    degraded: bool = Field(description="Whether one process tells what it counts, because the shared store does not answer.")
