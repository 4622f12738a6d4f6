"""The port to the answers of changes that carried an idempotency key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """The use of a key by one call."""

    tenant: str
    caller: str
    method: str
    key: str
    request: bytes
    """A hash of the request without its key."""
    at: datetime
    expires_at: datetime
    encode: Callable[[Any], bytes] = field(compare=False)
    """Makes the bytes to keep of what the change resulted in."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was kept of a change."""

    request: bytes
    answer: bytes


class IdempotencyAnswers(Protocol):
    """The answers that are kept, as far as whoever sends a call again needs them."""

    async def find(self, claim: Claim) -> Answer | None:
        """Return the answer that was committed under the claim's key; None when there is none, or it has expired."""

    async def prune(self, now: datetime) -> int:
        """Remove a bounded number of answers that have expired; return how many. 0 where they go by themselves."""


class IdempotencyLedger(IdempotencyAnswers, Protocol[T_contra]):
    """An answer for each (tenant, caller, method, key), until it expires; then it counts as missing.

    A change claims its key, then is made, then writes its answer, all in one transaction: so the answer is there if and only if
    the change is. ``T_contra`` is a transaction as the adapters of one kind have it. Any method raises UnavailableError when the
    store does not answer.
    """

    async def claim(self, transaction: T_contra, claims: Sequence[Claim]) -> list[bool]:
        """Take keys for this transaction until it ends; in the order of the claims.

        Never waits. False: another transaction holds the key, it has an answer, or it stands among these claims before.
        """

    async def answer(self, transaction: T_contra, results: Sequence[tuple[Claim, object]]) -> None:
        """Write the answers to claims that this transaction took, each made by :attr:`Claim.encode`.

        :raises KeyTakenError: one has an answer by now; the transaction must fail with it.
        """
