"""The log: the numbered events of one service, read from a position on."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from stylobate.database import DatabaseManager
from stylobate.outbox.errors import PositionExpiredError
from stylobate.outbox.event import PARTITIONS
from stylobate.outbox.pattern import EventPattern
from stylobate.outbox.port import LogPage
from stylobate.outbox.position import Position, position_to_go_on
from stylobate.outbox.postgres.numbering import logged_event

# How many events of a partition one read looks at: the bound of a read whose types are rare.
_WINDOW = 5000

_BYTES = 8 * 1024 * 1024
"""About how much data one read gives, however many events it asks for; at least one event of each partition."""

# One statement, so one snapshot: the ends and the events fit together also while a relay numbers and a pruning deletes.
_READ = """
select p.partition, p.number as start, h.number as head, h.pruned, h.epoch,
       e.number, e.id, e.tenant, e.subject, e.type, e.source, e.time, e.actor, e.depth, e.traceparent, e.data, e.aside,
       e.size
from unnest($1::smallint[], $2::bigint[]) as p (partition, number)
join outbox_head h on h.partition = p.partition
left join lateral (
    select * from (
        select t.*, octet_length(t.data) as size,
            sum(octet_length(t.data)) over (order by t.number rows unbounded preceding) - octet_length(t.data) as used
        from (
            select o.number, o.id::text, o.tenant, o.subject, o.type, o.source, o.time::text, o.actor, o.depth, o.traceparent,
                   o.data::text as data, o.aside::text as aside
            from outbox_event o
            where o.partition = p.partition and o.number > p.number and o.number <= p.number + $5
              and ($3::text[] is null or o.type ~ any ($3)) and ($7 or o.is_carried is null)
            order by o.number limit $4
        ) t
    ) bounded where used <= $6
) e on true
order by p.partition, e.number
"""

_ENDS = "select partition, number as head, pruned, epoch from outbox_head order by partition"

# The epochs that followed the one of a position; when that is unknown here (it was begun on a branch that a restore took
# back) the last one.
_FOLLOWED = """
select starts from outbox_epoch
where seq > coalesce(
    (select seq from outbox_epoch where epoch = $1),
    case when $1 = '' then 0 else (select max(seq) - 1 from outbox_epoch) end
)
"""

# Where a partition's events before a time end.
_BEFORE = """
select h.partition, h.epoch, coalesce(
    (select min(e.number) - 1 from outbox_event e
     where e.partition = h.partition and e.number is not null and e.time >= $1), h.number
) as number
from outbox_head h order by h.partition
"""

_NUMBERS = """
select e.subject, e.number
from unnest($3::text[], $4::bigint[]) as asked (subject, version)
join outbox_event e on e.tenant = $1 and e.stream = $2 and e.subject = asked.subject and e.version = asked.version
where e.number is not null
"""

# Removes the oldest numbered events of one partition, up to the first that is too young. An event without a number is
# never touched. One partition at a time, so that at most one end is locked and no order of locks can clash.
_PRUNE = """
with ends as materialized (
    select partition, pruned, number from outbox_head where partition = $1 for update
), edge as materialized (
    select ends.partition, ends.pruned, coalesce(
        (select o.number - 1 from outbox_event o
         where o.partition = ends.partition and o.number > ends.pruned and o.number <= ends.pruned + $3
           and o.time >= now() - $2::interval
         order by o.number limit 1),
        least(ends.number, ends.pruned + $3)
    ) as upto from ends
), gone as (
    delete from outbox_event o using edge
    where o.partition = edge.partition and o.number > edge.pruned and o.number <= edge.upto
)
update outbox_head h set pruned = edge.upto from edge
where h.partition = edge.partition and edge.upto > edge.pruned
returning h.pruned - edge.pruned as removed
"""


class PostgresEventLog:
    """The port on the service's own schema."""

    def __init__(self, database: DatabaseManager, source: str) -> None:
        self._database = database
        self.source = source
        self.types: Sequence[EventPattern] = ()

    async def head(self) -> Position:
        return (await self._ends())[1]

    async def oldest(self) -> Position:
        return (await self._ends())[0]

    async def before(self, time: datetime) -> Position:
        rows = await self._database.fetch(_BEFORE, time)
        return Position.of([row["number"] for row in rows], rows[0]["epoch"])

    async def check(self, position: Position, partitions: Iterable[int] | None = None) -> None:
        wanted = range(PARTITIONS) if partitions is None else partitions
        await self._check(await self._database.fetch(_ENDS), position, wanted)

    async def _ends(self) -> tuple[Position, Position]:
        """Return where the log begins and where it ends."""
        rows = await self._database.fetch(_ENDS)
        oldest, head = ([row[end] for row in rows] for end in ("pruned", "head"))
        return Position.of(oldest, rows[0]["epoch"]), Position.of(head, rows[0]["epoch"])

    async def _check(self, ends: Sequence[Any], position: Position, wanted: Iterable[int]) -> None:
        """Compare the position with the ends of the log (rows of partition, head, pruned, epoch), if one is wrong with all."""
        asked = set(wanted)
        if all(
            row["epoch"] == position.epoch and row["pruned"] <= position.numbers[row["partition"]] <= row["head"]
            for row in ends
            if row["partition"] in asked
        ):
            return
        oldest, head = await self._ends()
        starts = await self._database.fetch(_FOLLOWED, position.epoch) if head.epoch != position.epoch else ()
        there = position_to_go_on(position, asked, oldest=oldest, head=head, starts=[row["starts"] for row in starts])
        raise PositionExpiredError(metadata={"position": str(there)})

    async def read(
        self,
        position: Position,
        partitions: Sequence[int] | None = None,
        types: Sequence[EventPattern] = (),
        limit: int = 256,
        *,
        carried: bool = True,
    ) -> LogPage:
        wanted = list(range(PARTITIONS) if partitions is None else partitions)
        each = max(1, limit // max(1, len(wanted)))
        starts = [position.numbers[partition] for partition in wanted]
        patterns = [pattern.regex for pattern in types] or None
        share = _BYTES // max(1, len(wanted))
        rows = await self._database.fetch(_READ, wanted, starts, patterns, each, _WINDOW, share, carried)
        await self._check(rows, position, wanted)
        found = [row for row in rows if row["number"] is not None]
        reached = {row["partition"]: min(row["head"], row["start"] + _WINDOW) for row in rows}
        counts, sizes = dict.fromkeys(reached, 0), dict.fromkeys(reached, 0)
        for row in found:
            partition = row["partition"]
            counts[partition] += 1
            sizes[partition] += row["size"]
            if counts[partition] == each or sizes[partition] > share:  # there may be more before the end
                reached[partition] = row["number"]
        events = [logged_event(row) for row in found]
        return LogPage(events, position.advanced(reached))

    async def numbers(self, tenant: str, stream: str, versions: Mapping[str, int]) -> dict[str, int]:
        rows = await self._database.fetch(_NUMBERS, tenant, stream, list(versions), list(versions.values()))
        return {row["subject"]: row["number"] for row in rows}

    async def prune(self, older_than: timedelta, *, batch: int = 1000) -> int:
        removed = 0
        for partition in range(PARTITIONS):
            while True:
                count = await self._database.fetchval(_PRUNE, partition, older_than, batch) or 0
                removed += count
                if count < batch:
                    break
        return removed
