"""Shapes that every area uses."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from stylobate.date_time import FORM, time_of

from stylobate_gateway.action_input import INTEGER

TEXT = r"^[^\u0000]*$"
"""The form of any text: with U+0000 it could not be kept."""
_OPAQUE = "^[A-Za-z0-9_=-]*$"


def in_path(pattern: str, most: int, example: str, description: str | None = None) -> Any:
    """Return the declaration of a parameter of a path.

    Whoever generates requests is told its form; what is of another one is unknown to the service that is asked, or refused there.
    """
    form = {"pattern": pattern, "minLength": 1, "maxLength": most}
    return Path(json_schema_extra=form, examples=[example], description=description)


def in_digits(text: Any) -> Any:
    """Refuse what Python reads as a number and JSON does not: ``1_0``, ``+1``, ``01``, ``1.0``."""
    if isinstance(text, str) and INTEGER.fullmatch(text) is None:
        raise PydanticCustomError("int_parsing", "must be a whole number in digits")
    return text


def _moment(text: Any) -> datetime:
    """Read a date-time. What pydantic takes for one beside, such as a number of seconds or a day, is none."""
    found = time_of(text) if isinstance(text, str) else None
    if found is None:
        raise PydanticCustomError("datetime_parsing", FORM)
    return found


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A moment, as RFC 3339 writes it."""
PageSize = Annotated[int, Query(ge=1, le=500, description="How many at most."), BeforeValidator(in_digits)]
PageToken = Annotated[str, Query(pattern=_OPAQUE, max_length=4096, description="`next_page_token` of the page before.")]


class Input(BaseModel):
    """A body from a client: exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ProblemEntry(BaseModel):
    """One finding about an input."""

    pointer: str = Field(description="The field, as a JSON pointer (RFC 6901), wherever it stood: path, query or body.")
    detail: str


class Problem(BaseModel):
    """RFC 9457; clients match on `code`."""

    type: str = Field(description="A reference to a page about the code.")
    title: str
    status: int
    detail: str = Field(description="A sentence for a person.")
    code: str
    instance: str = Field(description="The path of the request, as it was sent.")
    request_id: str
    errors: list[ProblemEntry] | None = None
    metadata: dict[str, str] | None = None
