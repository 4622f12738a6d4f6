"""Signing keys in PostgreSQL: what the store and its transactions do with them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stylobate.database import Connection, DatabaseManager

from stylobate_auth.signing_key import SigningKey

# Two processes whose schedules are due at the same moment add one key.
_HOLD = "lock table signing_key in share row exclusive mode"
_ALL = "select * from signing_key order by signs_from, id"
_ADD = """
insert into signing_key (id, algorithm, public_key, sealed, sealed_by, published_at, signs_from)
values ($1, $2, $3, $4, $5, $6, $7)
"""
_RESEAL = "update signing_key set sealed = $3, sealed_by = $4 where id = $1 and sealed_by = $2"
_ISSUERS = "select issuer from token_issuer where counts_until > $1 order by issuer"
_KEEP_ISSUER = """
insert into token_issuer as known (issuer, counts_until) values ($1, $2)
on conflict (issuer) do update set counts_until = greatest(known.counts_until, excluded.counts_until)
"""
_REMOVE = """
delete from signing_key k where exists (select from signing_key n where n.signs_from > k.signs_from and n.signs_from <= $1)
"""
_REMOVE_ISSUERS = "delete from token_issuer where counts_until <= $1"


class PostgresSigningKeyChanges:
    """The part of a transaction."""

    _connection: Connection

    async def hold_signing_keys(self) -> Sequence[SigningKey]:
        await self._connection.execute(_HOLD)
        return [_key_of(row) for row in await self._connection.fetch(_ALL)]

    async def add_signing_key(self, key: SigningKey) -> None:
        await self._connection.execute(
            _ADD, key.id, key.algorithm, key.public_key, key.sealed, key.sealed_by, key.published_at, key.signs_from
        )


class PostgresSigningKeys:
    """The part of the store."""

    _database: DatabaseManager

    async def signing_keys(self, now: datetime) -> tuple[Sequence[SigningKey], Sequence[str]]:
        keys = await self._database.fetch(_ALL)
        issuers = await self._database.fetch(_ISSUERS, now)
        return [_key_of(row) for row in keys], [row["issuer"] for row in issuers]

    async def reseal_signing_key(self, key: SigningKey, sealed: bytes, sealed_by: str) -> None:
        await self._database.execute(_RESEAL, key.id, key.sealed_by, sealed, sealed_by)

    async def keep_issuer(self, issuer: str, until: datetime) -> None:
        await self._database.execute(_KEEP_ISSUER, issuer, until)

    async def remove_signing_keys(self, used_before: datetime) -> int:
        removed = [await self._database.execute(statement, used_before) for statement in (_REMOVE, _REMOVE_ISSUERS)]
        return sum(int(text.rpartition(" ")[2]) for text in removed)


def _key_of(row: Any) -> SigningKey:
    return SigningKey(
        id=row["id"],
        algorithm=row["algorithm"],
        public_key=row["public_key"],
        sealed=row["sealed"],
        sealed_by=row["sealed_by"],
        published_at=row["published_at"],
        signs_from=row["signs_from"],
    )
