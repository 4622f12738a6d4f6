"""Shapes that every area uses."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Input(BaseModel):
    """A body from a client: exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ProblemEntry(BaseModel):
    """One finding about an input."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """RFC 9457; clients match on `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    request_id: str
    errors: list[ProblemEntry] | None = None
    metadata: dict[str, str] | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these problems."""
    return {
        status: {
            "description": "Problem",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
