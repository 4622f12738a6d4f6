"""The audit trail in memory, for tests."""

from collections.abc import Sequence

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
