"""The audit trail in PostgreSQL: many records in one statement, each once however often it is sent."""

from stylobate.database import Connection, DatabaseManager

_INSERT = """
insert into audit_record (id, time, tenant, actor, via, action, target, outcome, reason, request_id, detail)
select id, time, tenant, actor, via, action, target, outcome, reason, request_id, detail
from jsonb_to_recordset($1::jsonb) as r (
    id uuid, time timestamptz, tenant text, actor text, via text, action text, target text, outcome text, reason text,
    request_id text, detail jsonb
)
on conflict (id) do nothing
"""


async def insert(database: DatabaseManager | Connection, records: str) -> None:
    """Write records, a JSON array of them, as one statement: all or none. One whose id is there already is left as it is."""
    await database.execute(_INSERT, records)
