"""Moments as clients write them."""

import re
from datetime import UTC, datetime, timedelta

FORM = "must be a date-time with an offset (RFC 3339), such as 2030-01-31T12:00:00Z"
"""What is said of a text that names none."""
_FORM = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LEAP = 60


def time_of(text: str) -> datetime | None:
    """Return the moment that a date-time (RFC 3339) names, to the microsecond; None for another text.

    A leap second is the moment after it, as POSIX counts.
    """
    parts = _FORM.fullmatch(text)
    if parts is None:
        return None
    day, minute, second, fraction, offset = parts.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{minute}:00{offset.upper()}")
        whole = timedelta(seconds=int(second), microseconds=int((fraction or "0").ljust(6, "0")[:6]))
        return None if int(second) > _LEAP else at.astimezone(UTC) + whole
    except (ValueError, OverflowError):
        return None
