"""Shapes of what is kept of a person."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class ExportSection(BaseModel):
    """What one part of the platform keeps."""

    source: Literal["auth", "audit", "ratelimit", "state", "modules"]
    name: str = Field(
        description="Which section: of `auth` what it is about, of `audit` the service, else a namespace or a module."
    )
    items: list[dict[str, Any]]
    complete: bool = Field(description="Whether these are all.")
    reason: str | None = Field(description="Where they are not: the reason of the error.")
    detail: str | None = Field(description="The same in a sentence.")


class UserExport(BaseModel):
    """All that is kept of a person. Sections that would be empty are left out."""

    format: Literal["stylobate.user-export/1"]
    user_id: str
    exported_at: datetime
    sections: list[ExportSection]
    complete: bool = Field(description="Whether every section is.")
