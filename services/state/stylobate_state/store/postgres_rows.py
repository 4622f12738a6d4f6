"""Rows of the table of objects."""

from datetime import datetime

import asyncpg
from stylobate.strict_json import compact_numbers

from stylobate_state.model import StateKey, StateRecord
from stylobate_state.store.postgres_timers import from_timers


def state_of(row: asyncpg.Record) -> StateRecord:
    """Return the object of a row that begins with its key, version, status, data, owner, times, first version and deletion."""
    tenant, namespace, key, version, status, data, owner, created_at, updated_at, first_version, is_deleted, *_ = row
    return StateRecord(
        key=StateKey(tenant, namespace, key),
        version=version,
        status=status,
        data=compact_numbers(data.encode()),
        owner=owner,
        created_at=datetime.fromisoformat(created_at),
        updated_at=datetime.fromisoformat(updated_at),
        first_version=first_version,
        is_deleted=is_deleted,
        timers=from_timers(row["timers"]),
        schema_version=row["schema_version"],
    )
