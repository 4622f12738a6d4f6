"""A change that is sent twice with one idempotency key happens once, and both calls get the same answer.

A servicer wraps its mutations in :meth:`Idempotency.once`; the service's store claims the key and writes the answer in the
transaction of the change, with an :class:`IdempotencyLedger`. PostgreSQL's table comes with ``MigrationSet.of("idempotency",
"stylobate.idempotency")``.
"""

from stylobate.errors import IdempotencyInProgressError
from stylobate.idempotency.errors import IdempotencyKeyRefusedError, IdempotencyKeyReusedError, KeyTakenError
from stylobate.idempotency.keeping import NO_SECRET, Keeping, secret_of
from stylobate.idempotency.once import LIFETIME, Idempotency, check_key
from stylobate.idempotency.port import Answer, Claim, IdempotencyAnswers, IdempotencyLedger

__all__ = [
    "LIFETIME",
    "NO_SECRET",
    "Answer",
    "Claim",
    "Idempotency",
    "IdempotencyAnswers",
    "IdempotencyInProgressError",
    "IdempotencyKeyRefusedError",
    "IdempotencyKeyReusedError",
    "IdempotencyLedger",
    "Keeping",
    "KeyTakenError",
    "check_key",
    "secret_of",
]
