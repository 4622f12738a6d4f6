"""Shapes of roles."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from stylobate_gateway.schemas.common import Input, Moment, in_path

RoleName = Annotated[str, in_path("^[a-z][a-z0-9_-]*$", 64, "staff", "The role's name.")]


class RoleAssign(Input):
    """How a role is to be held."""

    expires_at: Moment | None = Field(
        default=None, description="When it ends by itself; null: never.", examples=["2100-01-01T00:00:00Z"]
    )


class HeldRole(BaseModel):
    """A role that an account holds."""

    role: str
    expires_at: datetime | None = Field(description="When it ends by itself; null: it is held until it is taken away.")
    assigned_at: datetime | None = Field(description="When it was given; null: with the account.")
    assigned_by: str | None = Field(description="Who gave it; null: with the account.")


class HeldRoleList(BaseModel):
    """The roles that an account holds, by name."""

    items: list[HeldRole]
