"""Payloads: what module code holds as Python values and what crosses a border as JSON."""

from typing import Any

import msgspec
from pydantic_core import to_jsonable_python

from stylobate.strict_json import dumps, loads

JSON = "application/json"


def encode(value: Any) -> bytes:
    """Return the value as JSON.

    Takes what JSON has and whatever pydantic writes: dataclasses, models, tuples, sets, enums, datetimes (RFC 3339), durations
    (ISO 8601), decimals (as text), UUIDs, paths, bytes (UTF-8 text), mappings with such keys; and msgspec structs.
    Raises TypeError for anything else, and for integers beyond 64 bits; JsonRefusedError for NaN and whatever else
    :mod:`stylobate.strict_json` does not carry.
    """
    try:
        return dumps(value, _plain)
    except TypeError:
        return dumps(_plain(value))  # keys that are not texts are found here only


def decode(payload: bytes) -> Any:
    """Return the JSON as Python values. Raises JsonMalformedError or JsonRefusedError (ValueErrors both)."""
    return loads(payload)


def _plain(value: Any) -> Any:
    try:
        return to_jsonable_python(value, by_alias=True, fallback=_struct)
    except ValueError as error:
        raise TypeError(f"{type(value).__name__} has no JSON form: {error}") from error


def _struct(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, str_keys=True)
    raise TypeError(f"{type(value).__name__} has no JSON form")
