"""The port to the runs of actions that were called with an idempotency key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol


class RunKey(NamedTuple):
    """Whose key it is, and for which action."""

    tenant: str
    caller: str
    action: str
    key: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The run is the caller's to carry out."""

    token: int
    """Higher than that of everybody who held it before."""
    run_id: str
    """That of the first beginning; a random UUID."""
    began_at: datetime
    """When it was begun for the first time, in UTC."""


class Standing(NamedTuple):
    """How a run stands that is not to be had."""

    request: bytes
    """The hash that it was begun with."""
    answer: bytes | None
    """None: it is under way, or has just been given up."""


class RunLedger(Protocol):
    """One run for each key, until it expires: then it counts as missing.

    A run is held by who began it, for as long as it is renewed; one that is not held and has no answer can be begun again, with
    the same request only. Each method is one atomic step, and the clock that counts is the store's. Any method raises
    UnavailableError when the store does not answer; then it may have happened or not.
    """

    async def begin(self, key: RunKey, requests: Sequence[bytes], run_id: str) -> Begun | Standing | None:
        """Begin a run, or one again whose holder is gone. Of many that ask at once one is given it.

        :param requests: hashes of the call without its key, by secrets that were in use: the first one is kept, and a run that
            was begun with any of them is the same.
        :param run_id: for a run that was never begun.
        :return: None when it is not known how it stands, because it has just changed: ask again.
        """

    async def renew(self, held: Sequence[tuple[RunKey, int]]) -> set[RunKey]:
        """Hold runs, each under its token, for another while; return those that could be."""

    async def answer(self, key: RunKey, token: int, answer: bytes) -> bool:
        """Keep the answer; False, changing nothing, when somebody else was given the run meanwhile."""

    async def release(self, key: RunKey, token: int) -> None:
        """Let it be begun again at once, with the same request. Changes nothing when it is not held under the token."""

    async def forget(self, key: RunKey, token: int) -> None:
        """Let the key be as if it had never come. Changes nothing when the run is not held under the token, or has an answer."""

    async def prune(self) -> int:
        """Remove a bounded number of runs that have expired; return how many."""
