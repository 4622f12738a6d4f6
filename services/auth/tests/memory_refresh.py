"""Refresh tokens in memory."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from stylobate.audit import AuditRecord
from stylobate_auth.model import Session
from stylobate_auth.refresh_token import FoundRefresh, RefreshToken, Rotation
from stylobate_auth.store.sessions import RefreshKey


@dataclass(frozen=True)
class TokenRow:
    """A refresh token and what became of it."""

    token: RefreshToken
    session_id: str
    used_at: datetime | None = None


class MemoryRefreshTokens:
    """See the port."""

    _tables: Any
    _clock: Callable[[], datetime]

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """See the port."""
        raise NotImplementedError

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        """See the port."""
        return [_found(self._tables, key, self._clock()) for key in keys]

    async def rotate(self, rotations: Sequence[tuple[Rotation, AuditRecord]]) -> list[bool]:
        """See the port."""
        async with self.transaction() as transaction:
            done: list[bool] = await transaction.rotate_refresh([rotation for rotation, _ in rotations])
            await transaction.record(*(record for (_, record), is_done in zip(rotations, done, strict=True) if is_done))
        return done


class MemoryRefreshChanges:
    """See the port."""

    tables: Any
    _clock: Callable[[], datetime]

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        """See the port."""
        return [_found(self.tables, key, self._clock()) for key in keys]

    async def rotate_refresh(self, rotations: Sequence[Rotation]) -> list[bool]:
        """See the port."""
        return [self._rotate(one) for one in rotations]

    def _rotate(self, one: Rotation) -> bool:
        tenant, session_id = one.session.tenant, one.session.id
        held: Session | None = self.tables.sessions.get((tenant, session_id))
        row: TokenRow | None = self.tables.tokens.get((tenant, one.spent.hash))
        if held is None or row is None or row.used_at is not None or not held.is_alive(one.next.issued_at):
            return False
        now = self._clock()
        self.tables.tokens[tenant, one.spent.hash] = replace(row, used_at=now)
        self.tables.tokens[tenant, one.next.hash] = TokenRow(replace(one.next, issued_at=now), session_id)
        self.tables.sessions[tenant, session_id] = one.session
        self.tables.secrets[tenant, session_id] = one.secret
        return True


def _found(tables: Any, key: RefreshKey, now: datetime) -> FoundRefresh | None:
    row: TokenRow | None = tables.tokens.get(key)
    if row is None:
        return None
    session: Session = tables.sessions[key[0], row.session_id]
    return FoundRefresh(
        row.token,
        session,
        tables.accounts[key[0], session.account_id].account,
        tables.secrets.get((key[0], session.id), b""),
        now - row.token.issued_at,
        None if row.used_at is None else now - row.used_at,
    )
