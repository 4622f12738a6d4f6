"""Copies of sessions in memory."""

from stylobate_auth.model import Session


class MemorySessionCopies:
    """Copies in memory, of this process alone."""

    def __init__(self) -> None:
        self._copies: dict[tuple[str, str], Session] = {}

    async def get(self, tenant: str, session_id: str) -> Session | None:
        """See the port."""
        return self._copies.get((tenant, session_id))

    async def put(self, session: Session) -> None:
        """See the port."""
        self._copies[session.tenant, session.id] = session

    async def add(self, session: Session) -> None:
        """See the port."""
        self._copies.setdefault((session.tenant, session.id), session)
