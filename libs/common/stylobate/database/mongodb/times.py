"""Times to the microsecond: MongoDB's own dates have milliseconds."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: datetime) -> int:
    """Return the microseconds since 1970 of a time with a zone."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(count: int) -> datetime:
    """Return the time, in UTC."""
    return _EPOCH + timedelta(microseconds=count)
