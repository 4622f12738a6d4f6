"""The audit trail in PostgreSQL: many records in one statement."""

from collections.abc import Sequence

import asyncpg
import orjson

from stylobate.audit.record import AuditRecord
from stylobate.database import Connection, DatabaseManager
from stylobate.database.faults import unavailable
from stylobate.errors import ValueRefusedError

_INSERT = """
insert into audit_record (id, time, tenant, actor, via, action, target, outcome, reason, request_id, detail)
select id, time, tenant, actor, via, action, target, outcome, reason, request_id, detail
from jsonb_to_recordset($1::jsonb) as r (
    id uuid, time timestamptz, tenant text, actor text, via text, action text, target text, outcome text, reason text,
    request_id text, detail jsonb
)
on conflict (id) do nothing
"""


class PostgresAuditStore:
    """The port on the migrations of ``stylobate.audit``."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def insert(self, records: Sequence[AuditRecord], transaction: Connection | None = None) -> None:
        try:
            await (transaction or self._database).execute(_INSERT, orjson.dumps(list(records)).decode())
        except (TypeError, asyncpg.IntegrityConstraintViolationError) as error:
            raise ValueRefusedError from error
        except asyncpg.PostgresError as error:
            raise unavailable(error) from error
