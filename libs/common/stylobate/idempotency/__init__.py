"""A change that is sent twice with one idempotency key happens once, and both calls get the same answer.

A servicer wraps its mutations in :meth:`Idempotency.once`; the service's store claims the key and writes the answer in the
transaction of the change, with an :class:`IdempotencyLedger`. PostgreSQL's table comes with ``MigrationSet.of("idempotency",
"stylobate.idempotency")``.
"""

from stylobate.errors import IdempotencyInProgressError
from stylobate.idempotency.errors import IdempotencyKeyReusedError, KeyTakenError
from stylobate.idempotency.once import Idempotency, refuse_key
from stylobate.idempotency.port import Answer, Claim, IdempotencyLedger

__all__ = [
    "Answer",
    "Claim",
    "Idempotency",
    "IdempotencyInProgressError",
    "IdempotencyKeyReusedError",
    "IdempotencyLedger",
    "KeyTakenError",
    "refuse_key",
]
