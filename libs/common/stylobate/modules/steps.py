"""What a handler does while it runs for a call with an idempotency key: numbered, so that a second run does nothing twice."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from stylobate.errors import IdempotencyInProgressError, StylobateError
from stylobate.idempotency import IdempotencyKeyReusedError
from stylobate.resilience import backoff

R = TypeVar("R")
_COUNTER_BITS = 12


class RunDivergedError(Exception):
    """A run that was begun before took another way this time: nothing that it changed can be told from what it would change now.

    Never leaves the process: it is the module's defect.
    """

    def __init__(self, step: int) -> None:
        super().__init__(
            f"change {step} of this call was another one when it ran before with the same idempotency key. What is changed must "
            "follow from the input, `ctx.now` and `ctx.new_id()`; see docs/how-to/retry-safely.md"
        )


class Steps:
    """Numbers what one run does, each kind in the order in which the handler asks: changes of state, calls, publications, ids."""

    __slots__ = ("_counts", "_ids", "began_at", "run_id")

    def __init__(self, run_id: str, began_at: datetime) -> None:
        """Begin to count.

        :param run_id: a random UUID, the same each time the call is run.
        :param began_at: when it was run for the first time, in UTC.
        """
        self.run_id = run_id
        self.began_at = began_at
        self._counts: dict[str, int] = {}
        self._ids = 0

    @property
    def has_any(self) -> bool:
        """Whether the run may have changed something."""
        return bool(self._counts)

    def next(self, kind: str) -> int:
        """Return the number of the next step of a kind, from 1 on."""
        self._counts[kind] = number = self._counts.get(kind, 0) + 1
        return number

    def next_key(self, kind: str) -> str:
        """Return an idempotency key for the next step of a kind: ``<run>/<n>``."""
        return f"{self.run_id}/{self.next(kind)}"

    async def change(self, method: Callable[[Any], Awaitable[R]], request: Any, kind: str = "state") -> R:
        """Send a change of state, or a publication, as the next step, and wait for an earlier run's, if that is still under way.

        :raises RunDivergedError: it is not the change that this step was before.
        """
        request.idempotency_key, request.idempotency_step = self.run_id, self.next(kind)
        for pause_s in backoff(0.01, maximum=0.5):
            try:
                return await method(request)
            except StylobateError as error:
                if error.reason == IdempotencyKeyReusedError.reason:
                    raise RunDivergedError(request.idempotency_step) from None
                if error.reason != IdempotencyInProgressError.reason:
                    raise
            await asyncio.sleep(pause_s)
        raise AssertionError("backoff never ends")

    def new_id(self) -> str:
        """Return the next id of the run, a UUIDv7 (RFC 9562 §5.7) like any other.

        Its time is that of the first run, its counter (§6.2, method 1) the number of the id, the rest a hash of both.
        """
        milliseconds = int(self.began_at.timestamp() * 1000) + (self._ids >> _COUNTER_BITS)
        counter = self._ids & ((1 << _COUNTER_BITS) - 1)
        digest = hashlib.blake2b(f"{self.run_id}/{self._ids}".encode(), digest_size=8).digest()
        self._ids += 1
        rest = int.from_bytes(digest) & ((1 << 62) - 1)
        return str(UUID(int=milliseconds << 80 | 7 << 76 | counter << 64 | 2 << 62 | rest))
