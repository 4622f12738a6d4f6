"""Giving events their places in the log: SQL, fenced by the relay's lease token."""

from dataclasses import dataclass
from typing import Any

from stylobate.database import DatabaseManager
from stylobate.outbox.event import Event

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
# Nothing is locked when there is nothing to number or the token is out of date. The limit stands in the text because the
# planner, not knowing it, would read the whole table to find the rows again.
_NUMBER = """
with batch as materialized (
    select seq, partition from outbox_event
    where number is null and exists (select from outbox_head where token = $1)
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
select partition, number, id::text, tenant, subject, type, source, time, actor, depth, data::text
from numbered order by partition, number
"""


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
        row["data"].encode(),
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

    async def number(self, token: int) -> list[LoggedEvent]:
        """Give numbers to the oldest events that have none, at most :data:`BATCH`; return them in the order of each partition.

        Empty when there are none, or when the token is out of date.
        """
        return [logged_event(row) for row in await self._database.fetch(_NUMBER, token)]
