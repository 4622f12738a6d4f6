"""Payloads: what module code holds as Python values and what crosses a border as JSON."""

import dataclasses
from typing import Any

import msgspec
import pydantic

from stylobate.strict_json import dumps, loads

JSON = "application/json"


def encode(value: Any) -> bytes:
    """Return the value as JSON.

    Takes what JSON has, and dataclasses, pydantic models, msgspec structs, datetimes (RFC 3339), UUIDs and enums.
    Raises TypeError for anything else, and for integers beyond 64 bits; JsonRefusedError for NaN and whatever else
    :mod:`stylobate.strict_json` does not carry.
    """
    return dumps(value, _plain)


def decode(payload: bytes) -> Any:
    """Return the JSON as Python values. Raises JsonMalformedError or JsonRefusedError (ValueErrors both)."""
    return loads(payload)


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
