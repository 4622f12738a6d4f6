"""The port to what puts other ciphertext in the place of the one that stands there."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from stylobate_state.model import StateKey


class ObjectText(NamedTuple):
    """The data of an object at a version, and what is to be there instead."""

    key: StateKey
    version: int
    data: bytes


class EventText(NamedTuple):
    """An event of the log."""

    place: int
    """Where the store has it."""
    key: StateKey
    """Of its object."""
    version: int
    data: bytes
    """All that it says, as JSON."""


class EventPlace(NamedTuple):
    """Behind an event of a namespace."""

    tenant: str
    subject: str
    version: int


class ResealStore(Protocol):
    """Replaces texts in place: nobody is told, no version is made, and no time moves. Raises DatabaseUnavailableError."""

    async def replace_objects(self, objects: Sequence[ObjectText]) -> int:
        """Put the data there, where the object is alive at that version still; return how many were."""

    async def events(self, namespace: str, after: EventPlace, most: int) -> Sequence[EventText]:
        """Return events of a namespace behind a place, numbered or not, by tenant, key and version; none: that is all."""

    async def replace_events(self, events: Sequence[tuple[EventText, bytes]]) -> int:
        """Put other texts there, where the event says what it said still; return how many did."""
