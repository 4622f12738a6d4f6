"""Shapes of people's accounts, as administrators see them."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from stylobate_gateway.schemas.common import TEXT, Moment, in_path

UserId = Annotated[str, in_path("^[0-9a-f-]+$", 36, "01a20883-0000-7000-8000-000000000000", "The account's id.")]
OfEmail = Annotated[str, Query(max_length=254, pattern=TEXT, description="The address, compared as at a login.")]
OfRole = Annotated[str, Query(max_length=128, pattern=TEXT, description="A role that they hold.", examples=["admin"])]
CreatedAfter = Annotated[Moment | SkipJsonSchema[None], Query(description="Made at this time or later.")]
CreatedBefore = Annotated[Moment | SkipJsonSchema[None], Query(description="Made before this time.")]


class UserAccount(BaseModel):
    """An account as an administrator sees it."""

    id: str
    email: str | None = Field(description="null, as all but id and status, once it is deleted.")
    display_name: str | None
    roles: list[str]
    email_verified: bool | None
    created_at: datetime | None
    status: Literal["active", "disabled", "deleting", "deleted"] = Field(
        description="`deleting` until every service and module has forgotten it."
    )
    disabled_at: datetime | None = Field(description="Since when nobody is let in; null where it is not disabled.")
    deletion_began_at: datetime | None
    deleted_at: datetime | None


class UserList(BaseModel):
    """A page of accounts, in the order in which they were made."""

    items: list[UserAccount]
    next_page_token: str | None = Field(description="null on the last page.")
