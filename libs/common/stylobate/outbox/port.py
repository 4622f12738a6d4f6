"""The ports to where events are kept: written with a change, numbered afterwards, read as a log.

Any method raises UnavailableError when the store does not answer; a change may have happened then.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from stylobate.outbox.event import Event, LoggedEvent
from stylobate.outbox.pattern import EventPattern
from stylobate.outbox.position import Position

T_contra = TypeVar("T_contra", contravariant=True)

BATCH = 500
"""How many events are numbered at once."""
APART = "@"
"""In the name of a log that is one of several of a service, behind the service's name: ``state@archive``."""


@dataclass(frozen=True, slots=True)
class LogPage:
    """What one read found."""

    events: list[LoggedEvent]
    """In the order of each partition."""
    position: Position
    """Where to go on: behind every event that was looked at, also those of other types."""


class Outbox(Protocol[T_contra]):
    """Where a service leaves its events; the :class:`~stylobate.outbox.relay.Relay` takes them from there.

    Atomicity: an event is in the log if and only if the transaction committed. Order: the events of one subject keep the
    order of their commits; between subjects there is none. ``T_contra`` is a transaction as the adapters of one kind have it.
    """

    async def append(self, transaction: T_contra, events: Sequence[Event], *, stream: str, version: int | None = None) -> None:
        """Write events with the caller's transaction; their source is the outbox's.

        :param stream: what kind of thing the subjects are, such as ``user``; subjects are told apart within it.
        :param version: the subject's version after the change, for an owner that counts them under the lock of a row of
            its own (several events of one call count on from it). None: the events are ordered under a lock on each
            subject that this takes until the transaction ends, and their versions rise with gaps.
        :raises ValueError: several subjects with one version, or no transaction.
        :raises EventWrittenError: that version of the subject, or an event of that id, was written already.
        """


class EventLog(Protocol):
    """The numbered events of one service. Readers get every event after their position, in order per subject, or an error."""

    @property
    def source(self) -> str:
        """The service's name, the ``source`` of every event; with more behind it where the service has several logs."""

    @property
    def types(self) -> Sequence[EventPattern]:
        """The types of events that are in it; none: all of the service's."""

    async def head(self) -> Position:
        """Return the position behind the newest event."""

    async def oldest(self) -> Position:
        """Return the position before the oldest event that is kept."""

    async def before(self, time: datetime) -> Position:
        """Return the position before the first event of this time or a later one, in each partition."""

    async def check(self, position: Position, partitions: Iterable[int] | None = None) -> None:
        """Make sure that it can be read on from the position. Raises as :meth:`read` does."""

    async def read(
        self,
        position: Position,
        partitions: Sequence[int] | None = None,
        types: Sequence[EventPattern] = (),
        limit: int = 256,
        *,
        carried: bool = True,
    ) -> LogPage:
        """Read on from a position. The ends of the log and the events are of one moment, whoever numbers and prunes meanwhile.

        :param partitions: which to look at; None: all. The position of the others stays as it is.
        :param types: which types; none given: all. A read may look at a bounded stretch and find none of them.
        :param limit: about how many events at most, shared between the partitions (at least one each). Their size is bounded
            as well.
        :param carried: whether also those that were written to another log first, and carried here: who follows the logs of a
            service has had them there.
        :raises PositionExpiredError: events behind the position were pruned, it is of another epoch, or it lies beyond the
            end; with the position to go on from.
        """

    async def numbers(self, tenant: str, stream: str, versions: Mapping[str, int]) -> dict[str, int]:
        """Return the numbers of the events that these versions of subjects were written with, by subject.

        Those that have no number yet are left out.
        """

    async def prune(self, older_than: timedelta, *, batch: int = 1000) -> int:
        """Remove numbered events that are older, up to the first of a partition that is not; return how many.

        What is kept of a partition is its end, whole. Events without a number stay.

        :param batch: how many of a partition are removed in one step.
        """


class Numbering(Protocol):
    """The one writer of numbers. Every call says with which lease token; an outdated token changes nothing."""

    async def claim(self, token: int) -> bool:
        """Shut out every holder of an older token, however late its calls arrive. False: a newer one was here already."""

    async def number(self, token: int) -> list[LoggedEvent] | None:
        """Give numbers to the oldest events that have none, at most :data:`BATCH`; return them in the order of each partition.

        One atomic step. Every committed event gets a number once, also when two of these run at once, and the numbers of a
        partition have no gaps. Empty when there are none, or when the token is out of date. None when the log has moved to
        another database: :meth:`settle` comes first.
        """

    async def settle(self, token: int, epoch: str) -> str:
        """Begin the epoch if this is not the database in which the current one was begun; return it, or "" where none begins.

        None begins where none was noted yet, and under a token that is out of date.
        """

    async def begin(self, epoch: str, reason: str, *, token: int | None = None, starts: Mapping[int, int] | None = None) -> bool:
        """Begin an epoch, because it is known that the log was taken back.

        :param token: of the relay's lease; None: whoever holds it.
        :param starts: the last number, by partition, that is still what it was; where none is given, the end.
        :returns: False when the token is out of date.
        """

    def listen(self, callback: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """While the context lasts, call back soon after a :meth:`tell`, whichever process it came from.

        It may call too often, and it may miss: who must know looks by itself as well.
        """

    async def tell(self) -> None:
        """Make those call back who listen, in every process."""
