"""The port to what a database says of where namespaces stand."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol


class PlaceStore(Protocol):
    """What one database says. Any method raises DatabaseUnavailableError."""

    async def elsewhere(self) -> Mapping[str, str]:
        """Return which namespaces do not stand here, and the name of the database in which each does."""

    async def moving(self) -> Collection[str]:
        """Return which of these are on their way there: they can still be read here."""

    async def has(self, namespace: str) -> bool:
        """Return whether a namespace came to stand here."""

    async def opening(self, namespace: str) -> Sequence[int]:
        """Return where the log stood, by partition, when it came: what lies before was carried here with it."""

    async def take(self, namespace: str) -> None:
        """Note that it stands here from now on, if that is not noted.

        The log has an epoch of its own then: no position of the one in which its events were before fits.
        """

    async def give(self, namespace: str, database: str, *, with_objects: bool, is_moving: bool = False) -> bool:
        """Note that it stands elsewhere, and let nobody write it here again, whatever release or setting they have.

        Whoever wrote it before is committed when this returns.

        :param with_objects: whether there may be objects of it.
        :param is_moving: whether it is on its way; once it is noted that it stands there, this is not noted again.
        :returns: False: there are, and nothing was noted.
        """
