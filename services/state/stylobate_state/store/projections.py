"""The port to where projections stand. Their objects are state objects, and stand where those do."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from stylobate_state.model import StateKey, Write
from stylobate_state.projection.model import Applied, Outcome, Projection, View


class ProjectionStore(Protocol):
    """Every method is one atomic step, may be made by several processes at once, and raises DatabaseUnavailableError.

    A generation ends when the next one begins: what comes late for it raises ProjectionRebuiltError and changes nothing.
    """

    async def open(self, name: str) -> Projection:
        """Return where it stands; one that is not known begins with generation 1."""

    async def standings(self) -> Sequence[Projection]:
        """Return all that were ever opened, by name."""

    async def read(self, name: str, generation: int, tenant: str, keys: Collection[str]) -> Mapping[str, View]:
        """Return the objects that stand at the keys; those of a generation before without their data."""

    async def progress(self, name: str, generation: int, tenant: str) -> Mapping[int, int]:
        """Return the last number of the tenant that is applied, by partition; partitions with none are left out."""

    async def apply(self, events: Applied, writes: Sequence[Write]) -> Outcome:
        """Write the objects and note that the events are applied, once: not where any of them was applied before.

        All or nothing; what is written is of this generation from then on.

        :raises StateDataInvalidError: one of them cannot be kept, or has values that an index cannot hold.
        """

    async def move(self, name: str, generation: int, position: str | None, error: str) -> None:
        """Note how far it has come (None: as far as before), and why it does not go on."""

    async def rebuild(self, name: str) -> Projection | None:
        """Begin the next generation before the first event; all objects that there are belong to the one before.

        None: it was never opened.
        """

    async def sweep(self, name: str, generation: int, most: int, deletion: "Deletion") -> int:
        """Delete some of the objects of generations before, and return how many; 0: none is left, the rebuilding is over."""


class Deletion(Protocol):
    """Makes the write that deletes an object."""

    def __call__(self, key: StateKey, *, owner: str, version: int) -> Write:
        """Return it, for an object as it stands."""
