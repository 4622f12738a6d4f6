"""Times as operators write and read them: one way for all commands."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from stylobate.date_time import time_of
from stylobate.declarations.rules import parse_duration
from stylobate.launcher.output import CommandError

_LONGEST_AGO, _LONGEST = timedelta(days=36_500), timedelta(days=3650)


def moment(option: str, text: str) -> datetime:
    """Read a moment: a date-time with an offset, or how long ago. Raises CommandError."""
    found = time_of(text)
    if found is not None:
        return found
    try:
        return datetime.now(UTC) - parse_duration(text, longest=_LONGEST_AGO)
    except ValueError:
        raise CommandError(f"{option}: {text!r} is neither a time (2026-01-31T12:00:00Z) nor how long ago (90m, 7d)") from None


def lasting(option: str, text: str) -> timedelta:
    """Read how long something lasts: `90m`, `7d`. Raises CommandError."""
    try:
        return parse_duration(text, longest=_LONGEST)
    except ValueError as error:
        raise CommandError(f"{option}: {error}") from None


def shown(stamp: Timestamp) -> str:
    """Return a moment as all commands write it, in UTC and to the second."""
    return f"{stamp.ToDatetime():%Y-%m-%dT%H:%M:%SZ}"
