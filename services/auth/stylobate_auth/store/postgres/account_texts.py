"""Accounts as they are stored in PostgreSQL, for encrypting them anew."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg
from stylobate.database import DatabaseManager

from stylobate_auth.errors import EmailTakenError
from stylobate_auth.store.account_texts import AccountTexts

_PAGE = """
select tenant, id::text, email, email_key, display_name, new_email, new_email_key, old_email from account
where (tenant, id) > ($1, $2) and not is_service order by tenant, id limit $3
"""
_REPLACE = """
update account set email = $3, email_key = $4, display_name = $5, new_email = $6, new_email_key = $7, old_email = $8
where tenant = $1 and id = $2 and email = $9 and email_key = $10 and display_name = $11
  and new_email is not distinct from $12 and new_email_key is not distinct from $13 and old_email is not distinct from $14
returning true
"""


class PostgresAccountTexts:
    """The part of the store."""

    _database: DatabaseManager

    async def account_texts(self, after: tuple[str, str], most: int) -> Sequence[AccountTexts]:
        tenant, id_ = after
        rows = await self._database.fetch(_PAGE, tenant, UUID(id_) if id_ else UUID(int=0), most)
        return [AccountTexts(*row) for row in rows]

    async def replace_account_texts(self, old: AccountTexts, new: AccountTexts) -> bool:
        try:
            done = await self._database.fetchval(_REPLACE, new.tenant, UUID(new.id), *new[2:], *old[2:])
        except asyncpg.UniqueViolationError:
            raise EmailTakenError from None
        return done is not None
