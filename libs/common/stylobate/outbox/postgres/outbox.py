"""Writing events: in the transaction of the change that they tell of."""

from collections.abc import Sequence

import asyncpg

from stylobate.database import Connection
from stylobate.database.batches import columns, lock_key
from stylobate.outbox.errors import EventWrittenError
from stylobate.outbox.event import Event

# The advisory locks are taken before the first sequence number is drawn, so that a subject's rows stand in the order of
# their commits even where no row of the subject's own was locked. The transaction has its id before it draws one: by that
# the numbering knows which rows are still to come.
_APPEND = """
with locked as materialized (
    select pg_advisory_xact_lock(k.key) from (select key from unnest($1::bigint[]) as l (key) order by key) as k
), drawn as materialized (
    select nextval('outbox_event_seq_seq') as seq, e.*
    from unnest($5::uuid[], $6::text[], $7::smallint[], $8::text[], $9::text[], $10::timestamptz[], $11::text[], $12::jsonb[],
                $13::smallint[], $14::text[], $15::jsonb[])
        with ordinality as e (id, tenant, partition, subject, type, time, actor, data, depth, traceparent, aside, position)
    where (select count(*) from locked) >= 0 and (select pg_current_xact_id()) is not null
    order by e.position
)
insert into outbox_event (seq, id, tenant, partition, stream, subject, version, type, source, time, actor, depth, traceparent,
                          data, aside)
select seq, id, tenant, partition, $2, subject, coalesce($4::bigint + position - 1, seq), type, $3, time, actor, depth,
       traceparent, data, aside
from drawn order by seq
"""


class PostgresOutbox:
    """The port on the service's own schema; a transaction is a connection inside one.

    :param source: the service's name, the ``source`` of every event.
    """

    def __init__(self, source: str) -> None:
        self._source = source

    async def append(self, transaction: Connection, events: Sequence[Event], *, stream: str, version: int | None = None) -> None:
        if not transaction.is_in_transaction():
            raise ValueError("events are appended inside a transaction")
        if version is not None and len({(event.tenant, event.subject) for event in events}) > 1:
            raise ValueError("one version counts for one subject")
        if not events:
            return
        subjects = {(event.tenant, event.subject) for event in events} if version is None else ()
        keys = sorted(lock_key(b"outbox", self._source, stream, *subject) for subject in subjects)
        rows = [
            (
                *(e.id, e.tenant, e.partition, e.subject, e.type, e.time, e.actor, e.data.decode(), e.depth, e.traceparent),
                e.aside.decode() or None,
            )
            for e in events
        ]
        try:
            await transaction.execute(_APPEND, keys, stream, self._source, version, *columns(rows))
        except asyncpg.UniqueViolationError as error:
            raise EventWrittenError(f"a version of {stream} {events[0].subject}, or the event, was written already") from error
