"""What became of the writes of a batch, from the rows that its statement gives back."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import asyncpg
from stylobate.strict_json import compact_numbers

from stylobate_state.model import Write, Written
from stylobate_state.store.cas import Cas
from stylobate_state.store.postgres_timers import from_timers

_time = datetime.fromisoformat


def made(sent: Cas, writes: Sequence[Write], rows: Sequence[asyncpg.Record]) -> Iterator[Written | None]:
    """Yield the outcomes of those that were made, None for others.

    What a write was decided on is not asked back: of such an object version, time and timers are new. Those that were written
    together share one time, which is read once.
    """
    said, time = "", datetime.min.replace(tzinfo=UTC)
    for write, row in zip(writes, rows, strict=True):
        version = row[0]
        if version is None:
            yield None
            continue
        if row[1] != said:
            said = row[1]
            time = _time(said)
        timers = from_timers(row[2]) if row[2] is not None else ()
        kept = row["kept"] if sent.has_data else None
        data = write.data if kept is None else compact_numbers(kept.encode())
        seen = write.seen
        if sent.is_whole or seen is None:
            created, first_version = _time(row["created_at"]), row["first_version"]
            yield Written(version, row["status"], row["owner"], created, time, first_version, data, timers)
        else:
            status = seen.status if write.status is None else write.status
            yield Written(version, status, write.owner, seen.created_at, time, seen.first_version, data, timers)
