"""Other ciphertext in the place of what stands there, in PostgreSQL."""

from collections.abc import Sequence

from stylobate.database import DatabaseManager

from stylobate_state.model import StateKey
from stylobate_state.store.postgres_places import fenced
from stylobate_state.store.resealing import EventPlace, EventText, ObjectText

_OBJECTS = """
    with given as (
        select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
            as g (tenant, namespace, key, version, data)
        order by tenant, namespace, key
    )
    update state s set data = g.data::jsonb from given g
    where (s.tenant, s.namespace, s.key, s.version) = (g.tenant, g.namespace, g.key, g.version) and s.deleted_at is null
"""
_EVENTS = """
    select seq, tenant, subject, version, data::text as data from outbox_event
    where tenant = $1 and stream = $2 and (subject, version) > ($3, $4) order by subject, version limit $5
"""
_NEXT_TENANT = "select tenant from outbox_event where tenant > $1 order by tenant limit 1"
# What was taken away for good meanwhile does not come back.
_REPLACE = """
    update outbox_event e set data = g.new::jsonb
    from unnest($1::bigint[], $2::text[], $3::text[]) as g (seq, old, new)
    where e.seq = g.seq and e.data = g.old::jsonb
"""


class PostgresResealStore:
    """A ResealStore in the service's schema."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def replace_objects(self, objects: Sequence[ObjectText]) -> int:
        """See ResealStore."""
        if not objects:
            return 0
        keys = [one.key for one in objects]
        args = ([one.version for one in objects], [one.data.decode() for one in objects])
        with fenced():
            return _count(await self._database.execute(_OBJECTS, *map(list, zip(*keys, strict=True)), *args))

    async def events(self, namespace: str, after: EventPlace, most: int) -> Sequence[EventText]:
        """See ResealStore."""
        tenant, subject, version = after
        while True:
            rows = await self._database.fetch(_EVENTS, tenant, namespace, subject, version, most) if tenant else ()
            if rows:
                return [
                    EventText(
                        row["seq"],
                        StateKey(row["tenant"], namespace, row["subject"]),
                        row["version"],
                        row["data"].encode(),
                    )
                    for row in rows
                ]
            following: str | None = await self._database.fetchval(_NEXT_TENANT, tenant)
            if following is None:
                return ()
            tenant, subject, version = following, "", 0

    async def replace_events(self, events: Sequence[tuple[EventText, bytes]]) -> int:
        """See ResealStore."""
        if not events:
            return 0
        places, old = [one.place for one, _ in events], [one.data.decode() for one, _ in events]
        return _count(await self._database.execute(_REPLACE, places, old, [new.decode() for _, new in events]))


def _count(told: str) -> int:
    return int(told.rpartition(" ")[2])
