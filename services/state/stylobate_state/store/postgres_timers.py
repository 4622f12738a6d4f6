"""Timers in PostgreSQL: a table of due times beside the objects."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from stylobate.database import DatabaseManager
from stylobate.database.batches import columns

from stylobate_state.model import StateKey, Timer, TimerStart
from stylobate_state.store.postgres_places import fenced
from stylobate_state.store.timers import DueTimer, DueTimers, Filled

_DUE = """
    select tenant, namespace, key, event, since, coalesce(owner, ''), statement_timestamp() - due_at as late, tries
    from (select * from state_timer where due_at <= statement_timestamp() order by due_at limit $1) due
    left join state using (tenant, namespace, key)
    order by due_at
"""
_NEXT = "select due_at - statement_timestamp() from state_timer order by due_at limit 1"
_NAMED = """
    with named as (
        select *
        from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]) as n (tenant, namespace, key, since, event)
    )
"""
_PUT_OFF = f"""{_NAMED}
    update state_timer t set due_at = statement_timestamp() + $6::interval, tries = least(t.tries, 30000) + 1
    from named n
    where (t.tenant, t.namespace, t.key, t.since, t.event) = (n.tenant, n.namespace, n.key, n.since, n.event)
"""  # noqa: S608  no value in it
_SPEND = f"""{_NAMED},
    locked as materialized (
        select s.tenant, s.namespace, s.key from state s
        where (s.tenant, s.namespace, s.key) in (select tenant, namespace, key from named) and s.timers is not null
        order by s.tenant, s.namespace, s.key for no key update
    ),
    spent as (
        update state s set timers = (
            select jsonb_agg(
                case when n.event is null then timer else timer || '{{"at": null}}' end
            )
            from jsonb_array_elements(s.timers) timer
            left join named n on (n.tenant, n.namespace, n.key) = (s.tenant, s.namespace, s.key)
                and n.event = timer ->> 'event' and n.since = (timer ->> 'since')::bigint
        )
        from locked l where (s.tenant, s.namespace, s.key) = (l.tenant, l.namespace, l.key) and s.timers is not null
    )
    delete from state_timer t using named n
    where (t.tenant, t.namespace, t.key, t.since, t.event) = (n.tenant, n.namespace, n.key, n.since, n.event)
"""  # noqa: S608  no value in it
# A second pass, some minutes after the first, finds what a process with older declarations has let in meanwhile.
_FILLING = """
    with begun as (
        insert into state_timer_fill (namespace, status, event) values ($1, $2, $3) on conflict do nothing
        returning tenant, at_namespace, key, done_at
    ),
    again as (
        update state_timer_fill set tenant = '', at_namespace = '', key = '', done_at = null
        where (namespace, status, event) = ($1, $2, $3) and passes = 1 and done_at < statement_timestamp() - interval '10 minutes'
        returning tenant, at_namespace, key, done_at
    )
    select * from begun union all select * from again union all (
        select tenant, at_namespace, key, done_at from state_timer_fill
        where (namespace, status, event) = ($1, $2, $3) and not exists (select from again)
    )
"""
# Looks at the next rows of the primary key, whatever namespace they are of, so that no step is long.
_FILL = """
    with part as materialized (
        select tenant, namespace, key from state
        where (tenant, namespace, key) > ($4, $5, $6) order by tenant, namespace, key limit $7
    ),
    locked as materialized (
        select s.tenant, s.namespace, s.key, s.version from state s join part using (tenant, namespace, key)
        where s.namespace = $1 and s.status = $2 and s.deleted_at is null
          and not coalesce(s.timers @> jsonb_build_array(jsonb_build_object('event', $3::text)), false)
        order by s.tenant, s.namespace, s.key for no key update of s
    ),
    given as (
        update state s set timers = coalesce(s.timers, '[]') || state_timers(
            jsonb_build_array(jsonb_build_object('event', $3::text, 'seconds', $8::float8)), statement_timestamp(), s.version
        )
        from locked l where (s.tenant, s.namespace, s.key) = (l.tenant, l.namespace, l.key)
        returning s.tenant, s.namespace, s.key, s.version
    ),
    queued as (
        insert into state_timer (tenant, namespace, key, since, event, due_at)
        select tenant, namespace, key, version, $3, statement_timestamp() + make_interval(secs => $8) from given
        on conflict do nothing
    ),
    last as (
        select tenant, namespace, key, (select count(*) from part) as seen
        from part order by tenant desc, namespace desc, key desc limit 1
    ),
    moved as (
        update state_timer_fill f set
            tenant = coalesce(last.tenant, f.tenant), at_namespace = coalesce(last.namespace, f.at_namespace),
            key = coalesce(last.key, f.key), passes = f.passes + (coalesce(last.seen, 0) < $7)::int,
            done_at = case when coalesce(last.seen, 0) < $7 then statement_timestamp() end
        from (select) one left join last on true
        where (f.namespace, f.status, f.event) = ($1, $2, $3)
    )
    select (select count(*) from given), coalesce((select seen from last), 0)
"""


class PostgresTimerStore:
    """A TimerStore in the service's schema."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def due(self, limit: int) -> DueTimers:
        rows = await self._database.fetch(_DUE, limit)
        timers = [
            DueTimer(StateKey(tenant, namespace, key), event, since, owner, late, tries)
            for tenant, namespace, key, event, since, owner, late, tries in rows
        ]
        if len(timers) == limit:
            return DueTimers(timers, timedelta())
        following = await self._database.fetch(_NEXT) if not timers else ()
        return DueTimers(timers, following[0][0] if following else None)

    async def put_off(self, timers: Sequence[DueTimer], by: timedelta) -> None:
        await self._database.fetch(_PUT_OFF, *_named(timers), by)

    async def spend(self, timers: Sequence[DueTimer]) -> None:
        with fenced():
            await self._database.fetch(_SPEND, *_named(timers))

    async def fill(self, namespace: str, status: str, start: TimerStart, limit: int) -> Filled:
        ((*position, done_at),) = await self._database.fetch(_FILLING, namespace, status, start.event)
        if done_at is not None:
            return Filled(0, is_done=True)
        seconds = start.after.total_seconds()
        with fenced():
            ((count, seen),) = await self._database.fetch(_FILL, namespace, status, start.event, *position, limit, seconds)
        return Filled(count, is_done=seen < limit)

    async def forget_fills(self, namespace: str, declared: Sequence[tuple[str, str]]) -> None:
        statuses, events = [status for status, _ in declared], [event for _, event in declared]
        await self._database.fetch(
            "delete from state_timer_fill where namespace = $1"
            " and (status, event) not in (select * from unnest($2::text[], $3::text[]))",
            namespace,
            statuses,
            events,
        )


def _named(timers: Sequence[DueTimer]) -> list[list[object]]:
    return columns((*timer.key, timer.since, timer.event) for timer in timers)


def from_timers(kept: str | None) -> tuple[Timer, ...]:
    """Return the timers of an object as its row has them."""
    if kept is None:
        return ()
    return tuple(
        Timer(timer["event"], datetime.fromisoformat(timer["at"]) if timer["at"] else None, timer["since"])
        for timer in json.loads(kept)
    )
