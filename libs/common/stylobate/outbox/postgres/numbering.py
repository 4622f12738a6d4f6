"""Giving events their places in the log: SQL, fenced by the relay's lease token, in the epoch of this very database."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from stylobate.database import DatabaseManager
from stylobate.outbox.event import Event, LoggedEvent
from stylobate.strict_json import compact_numbers

_FULL_LOOK_S = 60.0
_SETTLED_S = 0.1
_MARK_EVERY_S = 0.02

# Whoever holds the newer lease writes its token into the ends of the log. From then on a holder of an older one finds no
# end that it may move, however late its statement arrives.
_CLAIM = """
with ends as materialized (select partition from outbox_head where token <= $1 order by partition for update)
update outbox_head h set token = $1 from ends where ends.partition = h.partition returning h.partition
"""

# One statement, so one transaction: all of a batch is numbered, or none. The rows are locked and looked at again before
# they count (`for update` re-checks), so that even two of these at once, say after a lost answer, number each row once.
# Nothing is locked when there is nothing to number, the token is out of date or the database is not the one that the epoch
# was begun in (asked here, because a failover under an open lease tells nobody). The limit stands in the text because the
# planner, not knowing it, would read the whole table to find the rows again.
_NUMBER = """
with here as materialized (
    select token = $1 as is_mine, coalesce(origin = outbox_origin(), true) as is_same,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest
    from outbox_head where partition = 0
), batch as materialized (
    select seq, partition from outbox_event
    where number is null and seq > $2 and (select is_mine and is_same from here)
    order by seq limit 500 for update
), ends as materialized (
    select h.partition, h.number from outbox_head h
    where h.token = $1 and h.partition in (select partition from batch)
    order by h.partition for update
), numbered as (
    update outbox_event e set number = n.number
    from (
        select b.seq, ends.number + row_number() over (partition by b.partition order by b.seq) as number
        from batch b join ends on ends.partition = b.partition
    ) n
    where e.seq = n.seq
    returning e.seq, e.partition, e.number, e.id, e.tenant, e.subject, e.type, e.source, e.time, e.actor, e.depth,
              e.traceparent, e.data, e.aside
), moved as (
    update outbox_head h set number = n.number
    from (select partition, max(number) as number from numbered group by partition) n
    where h.partition = n.partition and h.token = $1
)
select id::text, source, type, subject, time::text, tenant, data::text, actor, depth, traceparent, aside::text,
       partition, number, seq,
       here.is_mine and not here.is_same as is_moved, here.oldest, pg_current_xact_id_if_assigned()::text::bigint as own
from here left join numbered on true order by partition, number
"""

_SEQ = 13
"""Its place in such a row."""

_ENDS = """
select partition, number, origin, outbox_origin() as here from outbox_head
where $1::bigint is null or token = $1 order by partition for update
"""
_BEGIN = "insert into outbox_epoch (epoch, starts, origin, reason) values ($1, $2, $3, $4)"
_STAMP = "update outbox_head set epoch = coalesce($1, epoch), origin = $2"


def logged_event(row: Any) -> LoggedEvent:
    """Make one from a row with the columns that the statements of this package select."""
    event = Event(
        row["id"],
        row["source"],
        row["type"],
        row["subject"],
        datetime.fromisoformat(row["time"]),
        row["tenant"],
        compact_numbers(row["data"].encode()),
        row["actor"],
        row["depth"],
        row["traceparent"],
        compact_numbers(row["aside"].encode()) if row["aside"] is not None else b"",
    )
    return LoggedEvent(event, row["partition"], row["number"])


def _logged(rows: Iterable[Any]) -> list[LoggedEvent]:
    """Return the events of rows of ``_NUMBER``. Those that were written together have one time, which is read once."""
    events, text, time = [], "", datetime.min.replace(tzinfo=UTC)
    for event_id, source, type_, subject, at, tenant, data, actor, depth, traceparent, aside, partition, number, *_ in rows:
        if at != text:
            text, time = at, datetime.fromisoformat(at)
        kept = compact_numbers(data.encode())
        beside = compact_numbers(aside.encode()) if aside is not None else b""
        event = Event(event_id, source, type_, subject, time, tenant, kept, actor, depth, traceparent, beside)
        events.append(LoggedEvent(event, partition, number))
    return events


class _Watermark:
    """Up to where there can be no event without a number any more, so that a look need not wade through what had none.

    A row is written with a number of the sequence before its transaction commits, maybe long before. Behind a row that was
    numbered in transaction X there is none left once every transaction older than X has ended: all have their id before they
    draw a number. (An older release may draw it first, in the same statement: the waiting is for that, and the full look.)

    What was numbered is still in the index until it is vacuumed, and a look wades through all of that behind its start: at
    8,000 events a second, a second of it cost as much as the numbering itself, and a full look reads the table.
    """

    def __init__(self) -> None:
        self.seq = 0
        self._marks: deque[tuple[float, int, int]] = deque()  # when, X, up to which row
        self._full_at = 0.0

    def start(self) -> int:
        """Return behind which row to look: now and then behind none."""
        now = monotonic()
        if now >= self._full_at:
            self._full_at = now + _FULL_LOOK_S
            return 0
        return self.seq

    def saw(self, oldest: int, own: int | None, seq: int | None) -> None:
        """Take what a look saw: the oldest transaction under way, its own, and the last row that it numbered."""
        now = monotonic()
        while self._marks and self._marks[0][0] <= now - _SETTLED_S and self._marks[0][1] < oldest:
            self.seq = max(self.seq, self._marks.popleft()[2])
        if own is not None and seq is not None and (not self._marks or now - self._marks[-1][0] >= _MARK_EVERY_S):
            self._marks.append((now, own, seq))


class PostgresNumbering:
    """The port on the service's own schema; processes tell each other by ``NOTIFY``."""

    def __init__(self, database: DatabaseManager, source: str) -> None:
        self._database = database
        self._channel = f"outbox_{source}"
        self._watermark = _Watermark()

    async def claim(self, token: int) -> bool:
        self._watermark = _Watermark()
        return bool(await self._database.fetch(_CLAIM, token))

    async def number(self, token: int) -> list[LoggedEvent] | None:
        rows = await self._database.fetch(_NUMBER, token, self._watermark.start())
        if rows[0]["is_moved"]:
            self._watermark = _Watermark()
            return None
        numbered = rows if rows[0]["number"] is not None else []  # one row without an event, or all have one
        last = max([row[_SEQ] for row in numbered], default=None)
        self._watermark.saw(rows[0]["oldest"], rows[0]["own"], last)
        return _logged(numbered)

    async def settle(self, token: int, epoch: str) -> str:
        async with self._database.transaction() as connection:
            ends = await connection.fetch(_ENDS, token)
            if not ends or ends[0]["origin"] == ends[0]["here"]:
                return ""
            if ends[0]["origin"] is None:
                await connection.execute(_STAMP, None, ends[0]["here"])
                return ""
            reason = f"the database was {ends[0]['origin']} before"
            await connection.execute(_BEGIN, epoch, [end["number"] for end in ends], ends[0]["here"], reason)
            await connection.execute(_STAMP, epoch, ends[0]["here"])
        return epoch

    async def begin(self, epoch: str, reason: str, *, token: int | None = None, starts: Mapping[int, int] | None = None) -> bool:
        async with self._database.transaction() as connection:
            ends = await connection.fetch(_ENDS, token)
            if not ends:
                return False
            shared = [min(end["number"], (starts or {}).get(end["partition"], end["number"])) for end in ends]
            await connection.execute(_BEGIN, epoch, shared, ends[0]["here"], reason)
            await connection.execute(_STAMP, epoch, ends[0]["here"])
        return True

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        listening = await self._database.listen(self._channel, lambda _payload: callback())
        try:
            yield
        finally:
            await listening.close()

    async def tell(self) -> None:
        """See the port. A statement of its own, so that no writer's commit waits in the queue of notifying commits."""
        await self._database.execute("select pg_notify($1, '')", self._channel)
