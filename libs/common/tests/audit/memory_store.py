"""The audit trail in memory, for tests."""

from collections.abc import Sequence

from stylobate.audit.query import AuditPage, AuditQuery, Place
from stylobate.audit.record import AuditRecord, Outcome, made_storable
from stylobate.database.memory import MemoryTransaction
from stylobate.errors import ValueRefusedError


class MemoryAuditStore:
    """The port in a dictionary."""

    def __init__(self) -> None:
        self._records: dict[str, AuditRecord] = {}

    @property
    def records(self) -> list[AuditRecord]:
        """Every record that was kept, in the order in which they came."""
        return list(self._records.values())

    async def insert(self, records: Sequence[AuditRecord], transaction: MemoryTransaction | None = None) -> None:
        """See the port."""
        if any(record != made_storable(record) or record.outcome not in list(Outcome) for record in records):
            raise ValueRefusedError
        if transaction is None:
            self._keep(records)
        else:
            transaction.on_commit(lambda: self._keep(records))

    def _keep(self, records: Sequence[AuditRecord]) -> None:
        for record in records:
            self._records.setdefault(record.id, record)

    async def read(self, query: AuditQuery, limit: int) -> AuditPage:
        """See the port; it looks at all there is."""
        named, begins = query.action.rstrip("*"), query.action.endswith("*")
        found = sorted((record for record in self._records.values() if self._fits(record, query, named, begins)), key=Place.of)
        page = found[::-1][:limit]
        return AuditPage(page, Place.of(page[-1]) if len(page) == limit else None)

    @staticmethod
    def _fits(record: AuditRecord, query: AuditQuery, named: str, begins: bool) -> bool:
        return (
            record.tenant == query.tenant
            and query.actor in {"", record.actor}
            and query.target in {"", record.target}
            and query.outcome in {None, record.outcome}
            and (record.action.startswith(named) if begins else query.action in {"", record.action})
            and (query.since is None or record.time >= query.since)
            and (query.until is None or record.time < query.until)
            and (query.before is None or Place.of(record) < query.before)
        )
