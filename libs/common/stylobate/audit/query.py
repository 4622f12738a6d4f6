"""What is asked of audit records, and how far an answer goes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from stylobate.audit.record import AuditRecord, Outcome
from stylobate.errors import InvalidInputError, Violation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
LAST_ID = "f" * 8 + "-ffff" * 3 + "-" + "f" * 12
"""Of no record: behind all others of a moment."""
_POSITION = re.compile(r"([0-9a-f]{14})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class Place(NamedTuple):
    """Where a record stands among all records: later ones are greater, and so are their texts."""

    time: datetime
    id: str

    def __str__(self) -> str:
        """Return its text."""
        return f"{(self.time - _EPOCH) // _US:014x}-{self.id}"

    @classmethod
    def of(cls, record: AuditRecord) -> Self:
        """Return a record's place."""
        return cls(record.time, record.id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a place. Raises InvalidInputError."""
        found = _POSITION.fullmatch(text)
        if found is not None:
            return cls(_EPOCH + int(found[1], 16) * _US, found[2])
        raise InvalidInputError(violations=[Violation("/before", "is not the position of a record; pass it on as received")])


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which records; what is empty does not narrow."""

    tenant: str
    actor: str = ""
    action: str = ""
    """A name, or its beginning and ``*``."""
    target: str = ""
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: Place | None = None
    """Only older ones."""


class AuditPage(NamedTuple):
    """Records, the latest first."""

    records: Sequence[AuditRecord]
    reached: Place | None
    """Down to where everything is told; None: there is nothing older."""


def joined(pages: Sequence[AuditPage], limit: int) -> AuditPage:
    """Return a page out of those of several places, all asked for the same with the same limit.

    What one place has told goes only as far down as the one that has told the least.
    """
    horizon = max((page.reached for page in pages if page.reached is not None), default=None)
    found = [record for page in pages for record in page.records if horizon is None or Place.of(record) >= horizon]
    found.sort(key=Place.of, reverse=True)
    return AuditPage(found[:limit], Place.of(found[limit - 1]) if len(found) >= limit else horizon)
