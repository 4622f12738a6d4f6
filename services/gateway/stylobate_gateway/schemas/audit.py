"""Shapes of audit records."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from stylobate_gateway.schemas.common import TEXT, Moment

_text = {"pattern": TEXT, "max_length": 512}
OfService = Annotated[
    Literal["", "actions", "auth", "ratelimit"], Query(description="Only records of this service; without it of all.")
]
Actor = Annotated[str, Query(**_text, description="Only what this principal did: an id.")]
Named = Annotated[
    str,
    Query(
        pattern=r"^[^\u0000*]*\*?$",
        max_length=512,
        description="Only what has this name; `*` at its end stands for the rest.",
        examples=["auth.*"],
    ),
]
Target = Annotated[str, Query(**_text, description="Only what was done to this, such as `user:<id>`.")]
OfOutcome = Annotated[Literal["", "success", "denied", "failure"], Query(description="Only what ended so.")]
Since = Annotated[Moment | SkipJsonSchema[None], Query(description="Not before this .")]
Until = Annotated[Moment | SkipJsonSchema[None], Query(description="Before this .")]


class AuditRecord(BaseModel):
    """Who did what to what, and how it ended."""

    id: str
    time: datetime
    service: str = Field(description="Whose record it is.")
    actor: str | None = Field(description="The principal's id; null for an unknown caller.")
    via: str | None = Field(description="The service that made the call for the actor; null: a client called directly.")
    action: str
    target: str | None = Field(description="What it was done to; null where the action says it.")
    outcome: Literal["success", "denied", "failure"]
    reason: str | None = Field(description="The error's code where it was denied or failed.")
    request_id: str
    detail: dict[str, Any]


class AuditRecords(BaseModel):
    """A page of records, the latest first."""

    items: list[AuditRecord] = Field(description="May be fewer than asked for, even none, though older ones are left.")
    next_page_token: str | None = Field(description="null where there is nothing older.")
