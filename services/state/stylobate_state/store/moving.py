"""The port to one database's part in a move: it gives objects with all that was ever written of them, and takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from stylobate.outbox import Event

from stylobate_state.model import StateKey, StateRecord


class Told(NamedTuple):
    """An event of an object."""

    version: int
    event: Event


class KeptAnswer(NamedTuple):
    """What was answered to a call with an idempotency key."""

    tenant: str
    caller: str
    method: str
    key: str
    request: bytes
    answer: bytes
    expires_at: datetime

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Where it lies among the others."""
        return self[:4]


class ViewNumber(NamedTuple):
    """The last event of a partition that a projection has applied."""

    tenant: str
    partition: int
    number: int


@dataclass(frozen=True, slots=True)
class MovedProjection:
    """Where a projection stands whose objects are moved."""

    generation: int
    position: str
    begun_at: datetime
    is_rebuilding: bool
    error: str
    numbers: Sequence[ViewNumber]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A namespace that comes, by one move: steps of another one change nothing."""

    namespace: str
    move: str


class LoadStore(Protocol):
    """What stands in one database, in a form that every kind of database has.

    Whatever is put may be put again, by several at once. What an :class:`Arrival` asks for raises StateMovedError where room was
    made for another move, or for none. Any method raises DatabaseUnavailableError: some of the step may have happened.
    """

    async def keys(self, namespace: str, after: StateKey | None, most: int) -> Sequence[StateKey]:
        """Return keys of one tenant at which anything ever stood, in order, behind one; none: that was all."""

    async def told(self, keys: Sequence[StateKey], after: tuple[str, int], most: int) -> Sequence[Told]:
        """Return events of objects of one tenant, by key and version, behind one of them; none: that was all.

        :param most: events; their data is bounded as well.
        """

    async def put_told(self, arrival: Arrival, told: Sequence[Told]) -> int:
        """Have these events here as they are, and return how many were not here at all.

        These get the next numbers of the log, and say that they were carried. One that was here keeps its number.
        """

    async def versions(self, keys: Sequence[StateKey]) -> dict[StateKey, int]:
        """Return the version of each object that stands there, deleted ones too."""

    async def put(self, arrival: Arrival, objects: Sequence[StateRecord], generation: int) -> None:
        """Have objects here, whose events are here, with what is queued of their timers.

        :param generation: of the projection whose objects they are.
        """

    async def begin_timers(self, objects: Sequence[StateRecord]) -> None:
        """Queue again what objects of one tenant wait for, where that is not queued."""

    async def end_timers(self, keys: Sequence[StateKey]) -> None:
        """Take out of the queue what these objects wait for."""

    async def clear(self, arrival: Arrival, most: int) -> bool:
        """Take away what a stay of before has left of objects and their indexes; return whether there is more.

        True as well while events of it have no number. Once there is nothing more, room has been made for the move, and nothing
        is taken away any more. Without a move: only what was left.

        :raises StateMovedError: the namespace stands here, is on its way from here, or, without a move, on its way to here.
        """

    async def forget(self, namespace: str, after: tuple[str, str, int], most: int) -> tuple[str, str, int] | None:
        """Take away all that events of a namespace say but what happened to which key, of some of them.

        :param after: tenant, key and version behind which to go on. :returns: the like; None: that was all.
        """

    async def projection(self, name: str) -> MovedProjection | None:
        """Return where a projection stands; None: there is none of the name."""

    async def put_projection(self, name: str, moved: MovedProjection | None) -> None:
        """Let a projection stand there; None: have none of the name."""

    async def answers(self, after: tuple[str, str, str, str], most: int) -> Sequence[KeptAnswer]:
        """Return answers to calls with idempotency keys, in order, behind one; none: that was all."""

    async def put_answers(self, answers: Sequence[KeptAnswer]) -> None:
        """Keep answers, unless there are others that are kept longer."""
