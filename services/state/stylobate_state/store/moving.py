"""The port to what carries a namespace, with all that was ever written of it, from one database to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stylobate_state.index import Index
from stylobate_state.model import StateKey


@dataclass(frozen=True, slots=True)
class Carried:
    """What one step carried."""

    objects: int
    """Tombstones among them."""
    versions: int
    place: StateKey | None
    """Where the next step begins; None: that was all."""


class Carrier(Protocol):
    """Carries namespaces to one other database. Every step may be made again, by several at once, and changes nothing then.

    Any method raises DatabaseUnavailableError: some of the step may have happened.
    """

    async def begin(self, namespace: str) -> None:
        """Let nobody write the namespace here any more, whatever setting they have; whoever wrote it before is committed then."""

    async def carry(self, namespace: str, after: StateKey | None, most: int) -> Carried:
        """Carry some objects with their versions, their events and their timers; each whole or not at all.

        Their events get numbers in the log there, in the order that they have here.
        """

    async def enter(self, indexes: Sequence[Index]) -> bool:
        """Enter some of what was carried into the indexes there, and say whether there is more to do."""

    async def finish(self, namespace: str) -> None:
        """Carry what goes with the whole, and note that it stands there.

        That is the place of a projection, and the answers that were given to calls with an idempotency key.
        """
