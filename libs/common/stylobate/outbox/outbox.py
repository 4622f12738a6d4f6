"""Writing events: in the transaction of the change that they tell of."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from stylobate.database import Connection, DatabaseManager
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


class Outbox:
    """Where a service leaves its events; the :class:`~stylobate.outbox.relay.Relay` takes them from there.

    Delivery: an event is in the log if and only if the transaction committed. Order: the events of one subject keep the
    order of their commits; between subjects there is none.
    """

    def __init__(self, database: DatabaseManager, source: str, retention: timedelta | None = None) -> None:
        """Keep the parts.

        :param source: the service's name, the ``source`` of every event.
        :param retention: how long published events are kept; None: for good (where the log is also the history).
        """
        self.database = database
        self.source = source
        self.retention = retention

    async def append(self, connection: Connection, events: Sequence[Event], *, stream: str, version: int | None = None) -> None:
        """Write events with the caller's transaction.

        :param connection: in a transaction; events written outside of one could outlive a change that failed.
        :param stream: what kind of thing the subjects are, such as ``user``; subjects are told apart within it.
        :param version: the subject's version after the change, for an owner that counts them under the lock of a row of
            its own (several events of one call count on from it). None: the events are ordered under a lock on each
            subject that this takes until the transaction ends, and their versions rise with gaps.
        :raises ValueError: several subjects with one version, or no transaction.
        :raises asyncpg.UniqueViolationError: that version, or that event, was written already.
        """
        if not connection.is_in_transaction():
            raise ValueError("events are appended inside a transaction")
        if version is not None and len({(event.tenant, event.subject) for event in events}) > 1:
            raise ValueError("one version counts for one subject")
        if not events:
            return
        keys = {self._lock_key(stream, event) for event in events} if version is None else set[int]()
        await connection.execute(
            _APPEND,
            sorted(keys),
            stream,
            self.source,
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

    def _lock_key(self, stream: str, event: Event) -> int:
        """Return the 64-bit key of a subject's lock; two subjects on one key would only wait for each other."""
        text = f"{self.source}\0{stream}\0{event.tenant}\0{event.subject}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"outbox").digest(), "big", signed=True)
