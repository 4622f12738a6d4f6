"""The port to where audit records are kept."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from stylobate.audit.query import AuditPage, AuditQuery
from stylobate.audit.record import AuditRecord

T_contra = TypeVar("T_contra", contravariant=True)


class AuditStore(Protocol[T_contra]):
    """Keeps records for good. ``T_contra`` is a transaction as the adapters of one kind have it: PostgreSQL's is a connection."""

    async def insert(self, records: Sequence[AuditRecord], transaction: T_contra | None = None) -> None:
        """Write records as one atomic step, all or none.

        The same call may be made again: what was written already is left as it is.

        :param transaction: of a change: the records are kept if and only if the change is. None: at once.
        :raises ValueRefusedError: one of them cannot be kept as it is; see :func:`~stylobate.audit.record.made_storable`.
        :raises UnavailableError: not now; they may have been written.
        """

    async def read(self, query: AuditQuery, limit: int) -> AuditPage:
        """Return at most ``limit`` records, the latest first. What was left to be written in a batch is there within a second.

        One answer looks at a bounded number of records: it may hold fewer, even none, and yet tell where to go on.

        :raises UnavailableError: not now.
        """
