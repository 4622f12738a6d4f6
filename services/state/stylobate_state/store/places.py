"""The port to what a database says of where namespaces stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """What a database says of one namespace."""

    elsewhere: str | None
    """The database in which it stands, or from which it comes; None: it stands here."""
    is_moving: bool = False
    """Whether it is on its way there: it can still be read here."""
    move: str = ""
    """Of a namespace that leaves: the id of the move. Of one that comes: the move for which room was made."""


class PlaceStore(Protocol):
    """What one database says. Any method raises DatabaseUnavailableError.

    Where it says nothing of a namespace: the service's first database has it, any other does not.
    """

    async def said(self) -> Mapping[str, Place]:
        """Return what it says, by namespace."""

    async def give(self, namespace: str, database: str, *, with_objects: bool, move: str = "") -> bool:
        """Note that it stands elsewhere, and let nobody write it here, whatever release or setting they have, but who carries it.

        Whoever wrote it before is committed when this returns.

        :param with_objects: whether there may be objects of it.
        :param move: it is on its way, by this move, unless it was already; empty: it is there.
        :returns: False: there are, and nothing was noted.
        """

    async def expect(self, namespace: str, source: str) -> bool:
        """Let nobody write a namespace that is to come from another database, but who carries it. False: it stands here."""

    async def refuse(self, namespace: str) -> bool:
        """Let no move bring it here that is under way. False: it stands here."""

    async def take(self, namespace: str, move: str | None = None) -> bool:
        """Note that it stands here from now on, and let it be written.

        :param move: only where room was made for this one. :returns: whether it stands here.
        """
