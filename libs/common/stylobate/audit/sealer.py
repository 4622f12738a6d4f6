"""The sealer: from written to sealed. Of all processes of a service the one with the lease does it."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from time import monotonic

from stylobate.audit.chain import AuditChain, Block, Mark
from stylobate.errors import UnavailableError
from stylobate.health import Health, Status
from stylobate.leases import Lease, LeaseManager
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

LEASE = "audit-chain"
_EVERY = timedelta(seconds=5)
_BLOCK = 1000
"""The most records of a block. A change is found by its block, so it is one of these."""
_TELL_EVERY_S = 600.0
_DELETE_EVERY_S = 60.0
_BLOCKS_DELETED = 30
"""Blocks whose records are deleted in one transaction."""
_log = get_logger("audit")


class AuditSealer:
    """Seals the records of one service, within some ten seconds, and deletes those past retention.

    What writes records pays nothing for it. A block is one statement, and its number is a key: a process that is killed leaves
    none half, and two that work at once (a lease that was lost unnoticed) make one chain.
    """

    def __init__(
        self,
        chain: AuditChain,
        service: str,
        leases: LeaseManager,
        *,
        retention: timedelta | None = None,
        every: timedelta = _EVERY,
    ) -> None:
        """Keep the parts.

        :param retention: records of blocks that are older are deleted; None: none ever.
        """
        self._chain = chain
        self._service = service
        self._leases = leases
        self._retention = retention
        self._every_s = every.total_seconds()
        self._head: Block | None = None
        self._told_at = self._deleted_at = -_TELL_EVERY_S
        self._fault = ""

    async def run(self) -> None:
        """Seal whenever this process holds the lease, forever."""
        await self._leases.run(LEASE, self._lead)

    async def health(self) -> Health:
        """Tell whether records are sealed; a process that stands by is healthy while another one seals."""
        fault = self._fault
        if not fault and LEASE not in {lease.name for lease in self._leases.held}:
            with suppress(UnavailableError):  # the database's own check says so
                vacancy = await self._leases.vacancy(LEASE)
                fault = f"nobody seals audit records: {vacancy}" if vacancy else ""
        return Health(Status.DEGRADED if fault else Status.HEALTHY, fault)

    async def _lead(self, _lease: Lease) -> None:
        mark: Mark | None = None
        self._head = None
        while goes_on():
            try:
                mark = await self.step(mark)
            except UnavailableError as error:
                _log.warning("audit_sealing_waits", service=self._service, error=str(error))
            await asyncio.sleep(self._every_s)

    async def step(self, mark: Mark | None) -> Mark:
        """Seal what is before a mark, if that is past; return the mark for the next step."""
        if mark is not None and not await self._chain.is_past(mark):
            return mark
        while mark is not None and (block := await self._chain.seal(mark, _BLOCK)) is not None:
            self._look_back(block)
        if self._retention is not None and monotonic() - self._deleted_at >= _DELETE_EVERY_S:
            while count := await self._chain.delete(self._retention, _BLOCKS_DELETED):
                _log.info("audit_records_deleted", service=self._service, count=count)
            self._deleted_at = monotonic()
        if self._head is not None and monotonic() - self._told_at >= _TELL_EVERY_S:
            _log.info("audit_head", service=self._service, block=self._head.number, hash=self._head.hash.hex())
            self._told_at = monotonic()
        return await self._chain.mark()

    def _look_back(self, block: Block) -> None:
        """Say so where the chain does not go on from what this process sealed last: blocks were taken away, or restored."""
        if self._head is not None and block.number <= self._head.number:
            self._fault = f"the chain of audit records was taken back from block {self._head.number} to {block.number}"
            _log.error("audit_chain_taken_back", service=self._service, block=block.number, was=self._head.number)
        self._head = block
