"""Shapes of service accounts."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from stylobate_gateway.schemas.common import TEXT, Input, in_path

AccountId = Annotated[str, in_path("^[0-9a-f-]+$", 36, "01a20883-0000-7000-8000-000000000000", "The account's id.")]


class ServiceAccountCreate(Input):
    """A service account to make."""

    name: str = Field(min_length=1, max_length=100, description="What people call it.", examples=["import"])
    roles: list[Annotated[str, Field(max_length=128, json_schema_extra={"pattern": TEXT})]] = Field(
        default_factory=list,
        max_length=64,
        description="What it may do; `user` too only where it is named.",
        examples=[["staff"]],
    )


class ServiceAccount(BaseModel):
    """An account that nobody can log in to."""

    id: str = Field(description="The `owner` of its API keys.")
    name: str
    roles: list[str]
    created_at: datetime


class ServiceAccountList(BaseModel):
    """A page of service accounts, in the order in which they were made."""

    items: list[ServiceAccount]
    next_page_token: str | None = Field(description="null on the last page.")
