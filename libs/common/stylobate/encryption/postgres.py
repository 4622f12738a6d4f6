"""Data keys in the service's own schema; the clock is the database's."""

from collections.abc import Collection, Sequence
from typing import Any

from stylobate.database import DatabaseManager
from stylobate.encryption.port import KeptKey

_ALL = "select *, greatest(clock_timestamp() - created_at, interval '0') as age from data_key"
_NEWEST = f"{_ALL} where purpose = $1 order by generation desc limit 1"
_FIND = f"{_ALL} where id = any($1::text[])"
_ORDERED = f"{_ALL} order by purpose, generation"
_ADD = """
insert into data_key (id, purpose, generation, sealed, sealed_by) values ($1, $2, $3, $4, $5)
on conflict (purpose, generation) do nothing returning true
"""
_RESEAL = "update data_key set sealed = $3, sealed_by = $4 where id = $1 and sealed_by = $2"

_REPLACED = """
update data_key set replaced_at = clock_timestamp() where purpose = $1 and generation < $2 and replaced_at is null
"""


class PostgresDataKeyStore:
    """The port on the migrations of ``stylobate.encryption``."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def newest(self, purpose: str) -> KeptKey | None:
        row = await self._database.fetchrow(_NEWEST, purpose)
        return None if row is None else _key_of(row)

    async def find(self, ids: Collection[str]) -> Sequence[KeptKey]:
        return [_key_of(row) for row in await self._database.fetch(_FIND, list(ids))]

    async def all(self) -> Sequence[KeptKey]:
        return [_key_of(row) for row in await self._database.fetch(_ORDERED)]

    async def add(self, key: KeptKey) -> bool:
        added = await self._database.fetchval(_ADD, key.id, key.purpose, key.generation, key.sealed, key.sealed_by)
        return bool(added)

    async def replaced(self, purpose: str, below: int) -> None:
        await self._database.execute(_REPLACED, purpose, below)

    async def reseal(self, id_: str, sealed_by: str, sealed: bytes, now_by: str) -> None:
        await self._database.execute(_RESEAL, id_, sealed_by, sealed, now_by)


def _key_of(row: Any) -> KeptKey:
    return KeptKey(
        id=row["id"],
        purpose=row["purpose"],
        generation=row["generation"],
        sealed=row["sealed"],
        sealed_by=row["sealed_by"],
        created_at=row["created_at"],
        age=row["age"],
        is_replaced=row["replaced_at"] is not None,
    )
