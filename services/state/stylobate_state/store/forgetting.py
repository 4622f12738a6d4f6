"""The port to what takes the data of older versions away."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from stylobate_state.model import StateKey


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What of a namespace is not to be kept."""

    namespace: str
    age: timedelta
    """How old the event must be that says so."""
    behind: int = 0
    """Each event takes away the data of the version that is this many below it. 0: each deletion takes away that of all versions
    below it, unless it was undone."""

    @property
    def rule(self) -> str:
        """What tells it from others of the namespace; with another number of versions it is another rule."""
        return f"history:{self.behind}" if self.behind else "deleted"


@dataclass(frozen=True, slots=True)
class Erased:
    """What erasing an object did."""

    versions: int
    """How many lost their data."""
    living_version: int
    """That of the object that stands there, and keeps its data; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Forgot:
    """What one step did."""

    versions: int
    """How many lost their data."""
    has_more: bool
    """Whether there may be more to do at once."""


class ForgettingStore(Protocol):
    """Takes data away for good. Versions, numbers, and what happened stay."""

    async def forget(self, forgetting: Forgetting, most: int) -> Forgot:
        """Look at the events of the log behind those that were looked at before, in one atomic step.

        Only events with a number count, and each partition up to the first one that is too young, so that a reader of the log
        has had that long to take them.

        :param most: events of each partition at most. :raises DatabaseUnavailableError: nothing of the step happened.
        """

    async def forget_person(
        self, tenant: str, namespace: str, person: str, *, erases: bool, after: tuple[str, int], most: int
    ) -> tuple[str, int] | None:
        """Take a person's id out of some events of a namespace, and return the last one looked at; None: it was the last of all.

        Rows, numbers, versions and what happened stay. With the last ones, what was the person's and is deleted is nobody's.

        :param erases: whether data of what was the person's when it was deleted goes too, of all versions.
        :param after: only events behind this key and version. :param most: events to look at.
        :raises DatabaseUnavailableError: nothing of the step happened.
        """

    async def erase(self, key: StateKey) -> Erased:
        """Take the data of all versions of a key away, numbered or not, in one atomic step; that of a living object stays.

        :raises DatabaseUnavailableError: not known whether it happened.
        """
