"""Going through a namespace of all tenants in PostgreSQL, by the primary key."""

from stylobate.database import DatabaseManager

from stylobate_state.model import Scan, StateKey

_KEYS = """
    select key, schema_version, deleted_at is null as is_live from state
    where tenant = $1 and namespace = $2 and key > $3 order by key limit $4
"""
_NEXT_TENANT = "select tenant from state where tenant > $1 order by tenant limit 1"


async def scan(database: DatabaseManager, namespace: str, after: StateKey | None, most: int) -> Scan:
    """See StateStore."""
    tenant: str | None
    if after is None:
        tenant, key = await database.fetchval(_NEXT_TENANT, ""), ""
    else:
        tenant, key = after.tenant, after.key
    versions: list[tuple[StateKey, int]] = []
    looked = 0
    while tenant is not None:
        rows = await database.fetch(_KEYS, tenant, namespace, key, most - looked)
        looked += len(rows)
        versions += [(StateKey(tenant, namespace, row["key"]), row["schema_version"]) for row in rows if row["is_live"]]
        if looked == most:
            return Scan(versions, looked, StateKey(tenant, namespace, rows[-1]["key"]))
        tenant, key = await database.fetchval(_NEXT_TENANT, tenant), ""
    return Scan(versions, looked, None)
