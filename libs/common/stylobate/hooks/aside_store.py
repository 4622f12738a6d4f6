"""Events that stand aside, in PostgreSQL, fenced by lease token."""

from collections.abc import Mapping
from dataclasses import dataclass

from stylobate.database import DatabaseManager
from stylobate.hooks.position_store import Place
from stylobate.outbox import Event, LoggedEvent

_PUT = """
with moved as (
    update hook_position set number = greatest(number, $6), attempts = 0, updated_at = now()
    where hook = $1 and source = $2 and partition = $3 and token = $4 and epoch = $5 returning partition
), kept as (
    insert into hook_aside (hook, source, partition, epoch, number, tenant, subject, event)
    select $1, $2, $3, $5, $6, $7, $8, $9::json from moved
    on conflict do nothing
)
select partition from moved
"""

_SUBJECTS = """
select partition, tenant, subject, count(*) as count from hook_aside where hook = $1 and source = $2
group by partition, tenant, subject
"""

_FIRST = """
select seq, partition, number, event::text, attempts, greatest(0, extract(epoch from now() - since))::float8 as age_s
from hook_aside where hook = $1 and source = $2 and partition = $3 and tenant = $4 and subject = $5
order by seq limit 1
"""

# Each of these locks the position: whoever takes over after it finds it done; after a takeover it does nothing.
_FAILED = """
with mine as materialized (
    select partition from hook_position where hook = $1 and source = $2 and partition = $3 and token = $4 for share
), failed as (
    update hook_aside set attempts = $6, error = $7 where seq = $5 and exists (select from mine)
)
select partition from mine
"""

_DONE = """
with mine as materialized (
    select partition from hook_position where hook = $1 and source = $2 and partition = $3 and token = $4 for share
), gone as (
    delete from hook_aside where seq = $5 and exists (select from mine)
)
select partition from mine
"""

_BURY = """
with mine as materialized (
    select partition from hook_position where hook = $1 and source = $2 and partition = $3 and token = $4 for share
), gone as (
    delete from hook_aside where seq = $5 and exists (select from mine) returning *
), buried as (
    insert into hook_dead_letter (hook, source, partition, epoch, number, tenant, event, attempts, error)
    select hook, source, partition, epoch, number, tenant, event::jsonb, $6, $7 from gone
    on conflict do nothing
)
select partition from mine
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that stands aside."""

    seq: int
    logged: LoggedEvent
    attempts: int
    """How often it has failed."""
    age_s: float
    """How long it had stood aside when it was read."""


class AsideStore:
    """The rows. Changes say False, and change nothing, when a newer lease has taken over."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def put(self, place: Place, logged: LoggedEvent) -> bool:
        """Let an event stand aside and move the position behind it, in one transaction."""
        event = logged.event
        return (
            await self._database.fetchval(
                _PUT, *_keys(place), place.epoch, logged.number, event.tenant, event.subject, event.json().decode()
            )
            is not None
        )

    async def subjects(self, hook: str, source: str) -> Mapping[int, Mapping[tuple[str, str], int]]:
        """Return how many events of which subjects (tenant, subject) stand aside, by partition."""
        found: dict[int, dict[tuple[str, str], int]] = {}
        for row in await self._database.fetch(_SUBJECTS, hook, source):
            found.setdefault(row["partition"], {})[row["tenant"], row["subject"]] = row["count"]
        return found

    async def first(self, place: Place, tenant: str, subject: str) -> Kept | None:
        """Return the first event of a subject; None when it has none."""
        row = await self._database.fetchrow(_FIRST, place.hook, place.source, place.partition, tenant, subject)
        if row is None:
            return None
        logged = LoggedEvent(Event.parse(row["event"].encode()), row["partition"], row["number"])
        return Kept(row["seq"], logged, row["attempts"], row["age_s"])

    async def failed(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        """Remember how often it has failed, for whoever goes on after us."""
        return await self._database.fetchval(_FAILED, *_keys(place), kept.seq, attempts, error) is not None

    async def done(self, place: Place, kept: Kept) -> bool:
        """Forget an event that was dealt with."""
        return await self._database.fetchval(_DONE, *_keys(place), kept.seq) is not None

    async def bury(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        """Put it to the dead letters."""
        return await self._database.fetchval(_BURY, *_keys(place), kept.seq, attempts, error) is not None


def _keys(place: Place) -> tuple[str, str, int, int]:
    return place.hook, place.source, place.partition, place.token
