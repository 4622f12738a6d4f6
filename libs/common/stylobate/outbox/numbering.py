"""Giving events their places in the log: SQL, fenced by the relay's lease token, in the epoch of this very database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stylobate.database import DatabaseManager
from stylobate.outbox.event import Event
from stylobate.strict_json import compact_numbers

BATCH = 500
"""How many events are numbered at once: as many as :data:`_NUMBER` says."""

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
    select token = $1 as is_mine, coalesce(origin = outbox_origin(), true) as is_same from outbox_head where partition = 0
), batch as materialized (
    select seq, partition from outbox_event
    where number is null and (select is_mine and is_same from here)
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
    returning e.partition, e.number, e.id, e.tenant, e.subject, e.type, e.source, e.time, e.actor, e.depth, e.data
), moved as (
    update outbox_head h set number = n.number
    from (select partition, max(number) as number from numbered group by partition) n
    where h.partition = n.partition and h.token = $1
)
select here.is_mine and not here.is_same as is_moved,
       partition, number, id::text, tenant, subject, type, source, time, actor, depth, data::text
from here left join numbered on true order by partition, number
"""

_ENDS = """
select partition, number, origin, outbox_origin() as here from outbox_head
where $1::bigint is null or token = $1 order by partition for update
"""
_BEGIN = "insert into outbox_epoch (epoch, starts, origin, reason) values ($1, $2, $3, $4)"
_STAMP = "update outbox_head set epoch = coalesce($1, epoch), origin = $2"


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the log."""

    event: Event
    partition: int
    number: int
    """From 1 in each partition, without gaps."""


def logged_event(row: Any) -> LoggedEvent:
    """Make one from a row with the columns that the statements of this package select."""
    event = Event(
        row["id"],
        row["source"],
        row["type"],
        row["subject"],
        row["time"],
        row["tenant"],
        compact_numbers(row["data"].encode()),
        row["actor"],
        row["depth"],
    )
    return LoggedEvent(event, row["partition"], row["number"])


class Numbering:
    """The one writer of numbers. Every call says with which lease token; an outdated token changes nothing."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def claim(self, token: int) -> bool:
        """Shut out every holder of an older token. False: a newer one was here already."""
        return bool(await self._database.fetch(_CLAIM, token))

    async def number(self, token: int) -> list[LoggedEvent] | None:
        """Give numbers to the oldest events that have none, at most :data:`BATCH`; return them in the order of each partition.

        Empty when there are none, or when the token is out of date. None when the log has moved to another database:
        :meth:`settle` comes first.
        """
        rows = await self._database.fetch(_NUMBER, token)
        if rows and rows[0]["is_moved"]:
            return None
        return [logged_event(row) for row in rows if row["number"] is not None]

    async def settle(self, token: int, epoch: str) -> str:
        """Begin the epoch if this is not the database in which the current one was begun; return it, or "" where none begins.

        None begins where none was noted yet, and under a token that is out of date.
        """
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
        """Begin an epoch, because it is known that the log was taken back.

        :param token: of the relay's lease; None: whoever holds it.
        :param starts: the last number, by partition, that is still what it was; where none is given, the end.
        :returns: False when the token is out of date.
        """
        async with self._database.transaction() as connection:
            ends = await connection.fetch(_ENDS, token)
            if not ends:
                return False
            shared = [min(end["number"], (starts or {}).get(end["partition"], end["number"])) for end in ends]
            await connection.execute(_BEGIN, epoch, shared, ends[0]["here"], reason)
            await connection.execute(_STAMP, epoch, ends[0]["here"])
        return True
