"""Shapes of roles."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from stylobate_gateway.schemas.common import TEXT, Input, Moment, in_path

NAME = "^[a-z][a-z0-9_-]*$"
PERMISSION = r"^(\*|[a-z][a-z0-9_-]*(:[a-z0-9][a-z0-9_-]*)*:(\*|[a-z0-9][a-z0-9_-]*))$"
RoleName = Annotated[str, in_path(NAME, 64, "staff", "The role's name.")]


class RolePut(Input):
    """A role to keep in the database."""

    description: str = Field(default="", max_length=200, json_schema_extra={"pattern": TEXT}, description="What it is for.")
    permissions: list[Annotated[str, Field(max_length=256, json_schema_extra={"pattern": PERMISSION})]] = Field(
        default_factory=list, max_length=256, description="What it permits: permissions, areas of them (`orders:*`), or `*`."
    )
    inherits: list[Annotated[str, Field(max_length=64, json_schema_extra={"pattern": NAME})]] = Field(
        default_factory=list, max_length=32, description="Roles whose permissions it has as well."
    )


class Role(BaseModel):
    """A role."""

    name: str
    description: str
    permissions: list[str] = Field(description="What it permits itself.")
    inherits: list[str] = Field(description="Roles whose permissions it has as well.")
    effective_permissions: list[str] = Field(description="All that it permits.")
    declared_by: list[str] = Field(
        description="The modules that declare it, or `builtin`; none: it is in the database, and can be changed."
    )
    changed_at: datetime | None = Field(description="null for a declared one.")


class RoleList(BaseModel):
    """All roles, by name."""

    items: list[Role]


class AccessCheck(Input):
    """A question."""

    permission: str = Field(max_length=256, json_schema_extra={"pattern": PERMISSION}, examples=["orders:create"])
    subject: str | None = Field(
        None,
        max_length=36,
        json_schema_extra={"pattern": "^[0-9a-f-]+$"},
        description="An account's id, else the caller's own. Another's takes `access:read`.",
    )
    resource: str | None = Field(
        None,
        max_length=512,
        json_schema_extra={"pattern": TEXT},
        description="To what, such as `state/orders/42`: grants on it count as well. Else to anything.",
    )


class AccessReason(BaseModel):
    """Why somebody may."""

    role: str | None = Field(description="That the subject holds; null for a grant of its own.")
    through: list[str] = Field(description="The roles that this one inherits it from, in order.")
    permission: str = Field(description="That covers what was asked for.")
    source: str = Field(description="Where that stands: a module, `database` or `builtin`; `grant`.")
    resource: str | None = Field(description="Of a grant, what it is for; null: the role permits it everywhere.")


class AccessDecision(BaseModel):
    """A decision and why."""

    allowed: bool
    reasons: list[AccessReason] = Field(
        description="What permits it; some, and not allowed: the scopes of the API key that asks do not cover it."
    )
    would_permit: list[str] = Field(
        description="Where nothing does, the roles that would, those that permit the least first; for who holds `access:read`."
    )


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
