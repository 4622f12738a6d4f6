"""The runs in the service's own schema; the clock is the database's."""

from collections.abc import Sequence
from datetime import timedelta

from stylobate.database import DatabaseManager
from stylobate.database.batches import columns

from stylobate_actions.store.port import Begun, RunKey, Standing

# One row or none: a run that is new, has expired, or was given up with the same request.
_BEGIN = """
insert into action_run as run (tenant, caller, action, key, request, run_id, began_at, token, held_until, expires_at)
values ($1, $2, $3, $4, $5, $6, clock_timestamp(), 1, clock_timestamp() + $7, clock_timestamp() + $8)
on conflict (tenant, caller, action, key) do update set
    request = excluded.request,
    run_id = case when run.expires_at <= excluded.began_at then excluded.run_id else run.run_id end,
    began_at = case when run.expires_at <= excluded.began_at then excluded.began_at else run.began_at end,
    expires_at = case when run.expires_at <= excluded.began_at then excluded.expires_at else run.expires_at end,
    token = run.token + 1,
    held_until = excluded.held_until,
    answer = null
where run.expires_at <= excluded.began_at
    or (run.answer is null and run.held_until <= excluded.began_at and run.request = any($9::bytea[]))
returning token, run_id, began_at
"""
_STANDING = "select request, answer from action_run where tenant = $1 and caller = $2 and action = $3 and key = $4"
_RENEW = """
update action_run as run set held_until = clock_timestamp() + $6
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]) as held (tenant, caller, action, key, token)
where run.tenant = held.tenant and run.caller = held.caller and run.action = held.action and run.key = held.key
    and run.token = held.token and run.answer is null and run.held_until > clock_timestamp()
returning run.tenant, run.caller, run.action, run.key
"""
_ANSWER = """
update action_run set answer = $6
where tenant = $1 and caller = $2 and action = $3 and key = $4 and token = $5 and answer is null
returning true
"""
_RELEASE = """
update action_run set held_until = clock_timestamp()
where tenant = $1 and caller = $2 and action = $3 and key = $4 and token = $5 and answer is null
"""
_FORGET = """
delete from action_run
where tenant = $1 and caller = $2 and action = $3 and key = $4 and token = $5 and answer is null
"""
_PRUNE = """
delete from action_run where (tenant, caller, action, key) in (
    select tenant, caller, action, key from action_run where expires_at <= clock_timestamp() order by expires_at limit 1000
    for update skip locked
)
"""


class PostgresRunLedger:
    """The port on the service's migrations.

    :param hold: how long a run is held without being renewed. :param lifetime: how long it is known.
    """

    def __init__(self, database: DatabaseManager, hold: timedelta, lifetime: timedelta) -> None:
        self._database = database
        self._hold = hold
        self._lifetime = lifetime

    async def begin(self, key: RunKey, requests: Sequence[bytes], run_id: str) -> Begun | Standing | None:
        row = await self._database.fetchrow(_BEGIN, *key, requests[0], run_id, self._hold, self._lifetime, list(requests))
        if row is not None:
            return Begun(*row)
        row = await self._database.fetchrow(_STANDING, *key)
        return None if row is None else Standing(*row)

    async def renew(self, held: Sequence[tuple[RunKey, int]]) -> set[RunKey]:
        if not held:
            return set()
        rows = await self._database.fetch(_RENEW, *columns((*key, token) for key, token in held), self._hold)
        return {RunKey(*row) for row in rows}

    async def answer(self, key: RunKey, token: int, answer: bytes) -> bool:
        return bool(await self._database.fetchval(_ANSWER, *key, token, answer))

    async def release(self, key: RunKey, token: int) -> None:
        await self._database.execute(_RELEASE, *key, token)

    async def forget(self, key: RunKey, token: int) -> None:
        await self._database.execute(_FORGET, *key, token)

    async def prune(self) -> int:
        return int((await self._database.execute(_PRUNE)).rpartition(" ")[2])
