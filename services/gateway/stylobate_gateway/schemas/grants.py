"""Shapes of grants."""

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from stylobate_gateway.schemas.common import TEXT, Input, Moment
from stylobate_gateway.schemas.roles import PERMISSION

SUBJECT = r"^(role:[a-z][a-z0-9_-]*|[0-9a-f-]{36})$"
_WHO = "An account's id, or `role:` and the name of a role, for all who hold that."
_WHAT = "A permission, an area of them (`orders:*`), or `*`."
_WHERE = "`state/orders/42` is an object of the state service, `state/orders/` are all of a namespace."
_ID = "019f9f3e-2b5c-7cc3-9d2a-5a4b3c2d1e0f"
_RESOURCE = "state/orders/42"

OfSubject = Annotated[str, Query(max_length=69, json_schema_extra={"pattern": SUBJECT}, description=_WHO, examples=[_ID])]
OfPermission = Annotated[
    str, Query(max_length=256, json_schema_extra={"pattern": PERMISSION}, description=_WHAT, examples=["orders:read"])
]
OnResource = Annotated[str, Query(max_length=512, json_schema_extra={"pattern": TEXT}, description=_WHERE, examples=[_RESOURCE])]


class GrantPut(Input):
    """A grant to give."""

    subject: str = Field(max_length=69, json_schema_extra={"pattern": SUBJECT}, description=_WHO, examples=["role:user"])
    permission: str = Field(
        max_length=256, json_schema_extra={"pattern": PERMISSION}, description=_WHAT, examples=["orders:read"]
    )
    resource: str = Field(max_length=512, json_schema_extra={"pattern": TEXT}, description=_WHERE, examples=[_RESOURCE])
    expires_at: Moment | None = Field(
        default=None, description="When it ends by itself; null: never.", examples=["2100-01-01T00:00:00Z"]
    )


class Grant(BaseModel):
    """A permission on a resource."""

    subject: str = Field(description=_WHO)
    permission: str
    resource: str
    expires_at: datetime | None = Field(description="When it ends by itself; null: it is held until it is taken away.")
    granted_at: datetime
    granted_by: str = Field(description="Who gave it.")


class GrantList(BaseModel):
    """Grants by subject, permission and resource."""

    items: list[Grant]
    next_page_token: str | None
