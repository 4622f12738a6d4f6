"""Writing events: in the transaction of the change that they tell of."""

import hashlib
from collections.abc import Sequence

import asyncpg

from stylobate.database import Connection
from stylobate.outbox.errors import EventWrittenError
from stylobate.outbox.event import Event

# The advisory locks are taken before the first sequence number is drawn, so that a subject's rows stand in the order of
# their commits even where no row of the subject's own was locked.
_APPEND = """
with locked as materialized (
    select pg_advisory_xact_lock(k.key) from (select key from unnest($1::bigint[]) as l (key) order by key) as k
), drawn as materialized (
    select nextval('outbox_event_seq_seq') as seq, e.*
    from unnest($4::uuid[], $5::text[], $6::smallint[], $7::text[], $8::text[], $9::timestamptz[], $10::text[], $11::jsonb[],
                $13::smallint[], $14::text[])
        with ordinality as e (id, tenant, partition, subject, type, time, actor, data, depth, traceparent, position)
    where (select count(*) from locked) >= 0
    order by e.position
)
insert into outbox_event (seq, id, tenant, partition, stream, subject, version, type, source, time, actor, depth, traceparent,
                          data)
select seq, id, tenant, partition, $2, subject, coalesce($12::bigint + position - 1, seq), type, $3, time, actor, depth,
       traceparent, data
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
        keys = {self._lock_key(stream, event) for event in events} if version is None else set[int]()
        columns = (
            [event.id for event in events],
            [event.tenant for event in events],
            [event.partition for event in events],
            [event.subject for event in events],
            [event.type for event in events],
            [event.time for event in events],
            [event.actor for event in events],
            [event.data.decode() for event in events],
            version,
            [event.depth for event in events],
            [event.traceparent for event in events],
        )
        try:
            await transaction.execute(_APPEND, sorted(keys), stream, self._source, *columns)
        except asyncpg.UniqueViolationError as error:
            raise EventWrittenError(f"a version of {stream} {events[0].subject}, or the event, was written already") from error

    def _lock_key(self, stream: str, event: Event) -> int:
        """Return the 64-bit key of a subject's lock; two subjects on one key would only wait for each other."""
        text = f"{self._source}\0{stream}\0{event.tenant}\0{event.subject}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"outbox").digest(), "big", signed=True)
