"""The audit trail in PostgreSQL: many records in one statement."""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import orjson

from stylobate.audit.query import LAST_ID, AuditPage, AuditQuery, Place
from stylobate.audit.record import AuditRecord, Outcome
from stylobate.database import Connection, DatabaseManager
from stylobate.database.faults import unavailable
from stylobate.errors import ValueRefusedError

_RECORDING = """
insert into audit_record (id, time, tenant, actor, via, action, target, outcome, reason, request_id, detail)
select id, time, tenant, actor, via, action, target, outcome, reason, request_id, detail
from jsonb_to_recordset({records}::jsonb) as r (
    id uuid, time timestamptz, tenant text, actor text, via text, action text, target text, outcome text, reason text,
    request_id text, detail jsonb
)
{where}
on conflict (id) do nothing
"""
_INSERT = _RECORDING.format(records="$1", where="")

SCANNED = 10_000
"""How many records one reading looks at."""
_READ = """
with scanned as materialized (
    select * from audit_record
    where tenant = $1 and time < $2 and time >= $3 and (time, id) < ($4, $5) {by}
    order by time desc, id desc limit {scanned}
), found as (
    select * from scanned
    where ($7 = '' or starts_with(action, $7)) and ($8 = '' or action = $8) and ($9 = '' or target = $9)
        and ($10 = '' or outcome = $10) and ($6 = '' or actor = $6)
    order by time desc, id desc limit $11
)
select true as is_found, 0 as scanned, found.* from found
union all
(select false, (select count(*) from scanned), scanned.* from scanned order by time, id limit 1)
order by is_found desc, time desc, id desc
"""
_BY_TIME = _READ.format(by="", scanned=SCANNED)
_BY_ACTOR = _READ.format(by="and actor = $6", scanned=SCANNED)
_BY_TARGET = _READ.format(by="and target = $9 and target <> ''", scanned=SCANNED)
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


def recording(records: str, where: str) -> str:
    """Return what writes records as a part of a larger statement, which makes the change in question by itself.

    :param records: the parameter that holds them, as :func:`recorded` makes it. :param where: a condition.
    """
    return _RECORDING.format(records=records, where=f"where {where}")


def recorded(*records: AuditRecord) -> str:
    """Return the value of that parameter. Raises TypeError for what is not storable."""
    return orjson.dumps([record.row() for record in records]).decode()


class PostgresAuditStore:
    """The port on the migrations of ``stylobate.audit``."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def read(self, query: AuditQuery, limit: int) -> AuditPage:
        before = query.before or Place(_LAST, LAST_ID)
        begins = query.action.endswith("*")
        try:
            rows = await self._database.fetch(
                _BY_TARGET if query.target else _BY_ACTOR if query.actor else _BY_TIME,
                query.tenant,
                query.until or _LAST,
                query.since or _FIRST,
                before.time,
                before.id,
                query.actor,
                query.action[:-1] if begins else "",
                "" if begins else query.action,
                query.target,
                query.outcome or "",
                limit,
            )
        except asyncpg.PostgresError as error:
            raise unavailable(error) from error
        records = [_record(row) for row in rows if row["is_found"]]
        if len(records) == limit:
            return AuditPage(records, Place.of(records[-1]))
        if rows and rows[-1]["scanned"] == SCANNED:
            return AuditPage(records, Place.of(_record(rows[-1])))
        return AuditPage(records, None)

    async def insert(self, records: Sequence[AuditRecord], transaction: Connection | None = None) -> None:
        try:
            await (transaction or self._database).execute(_INSERT, recorded(*records))
        except (TypeError, asyncpg.IntegrityConstraintViolationError) as error:
            raise ValueRefusedError from error
        except asyncpg.PostgresError as error:
            raise unavailable(error) from error


def _record(row: asyncpg.Record) -> AuditRecord:
    return AuditRecord(
        row["action"],
        Outcome(row["outcome"]),
        row["actor"],
        row["tenant"],
        row["via"],
        row["target"],
        row["reason"],
        row["request_id"],
        orjson.loads(row["detail"]),
        str(row["id"]),
        row["time"],
    )
