"""Filters as modules write them, in Python's values, as the state service takes them: as text."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from stylobate.api.state.v1.state_service_pb2 import StateFilter


def state_filters(conditions: Mapping[str, Any]) -> list[StateFilter]:
    """Return the filters that conditions by field are: ``{"status": "paid", "total": {"gte": 100, "lt": 200}}``.

    :raises TypeError: a value that is not a text, number, boolean or datetime with a time zone.
    """
    return [
        StateFilter(field=field, operator=operator, values=_texts(operator, value))
        for field, condition in conditions.items()
        for operator, value in (condition if isinstance(condition, Mapping) else {"eq": condition}).items()
    ]


def _texts(operator: str, value: Any) -> list[str]:
    if operator == "in" and isinstance(value, Iterable) and not isinstance(value, str):
        return [_text(item) for item in value]
    return [_text(value)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.isoformat()
    if isinstance(value, (str, int, float, Decimal)):
        return str(value)
    raise TypeError(f"a filter takes a text, a number, a boolean or a datetime with a time zone, not {type(value).__name__}")
