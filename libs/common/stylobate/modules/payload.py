"""Payloads: what module code holds as Python values and what crosses a border as JSON."""

import dataclasses
from typing import Any

import msgspec
import orjson
import pydantic

JSON = "application/json"


def encode(value: Any) -> bytes:
    """Return the value as JSON.

    Takes what JSON has, and dataclasses, pydantic models, msgspec structs, datetimes (RFC 3339), UUIDs and enums.
    Raises TypeError for anything else, and for integers beyond 64 bits.
    """
    return orjson.dumps(value, default=_plain)


def decode(payload: bytes) -> Any:
    """Return the JSON as Python values. Raises ValueError when it is none."""
    return orjson.loads(payload)


def _plain(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
