"""The ports: the store of counts, which may vanish, and that of bans, which may not."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from stylobate.audit import AuditRecord
from stylobate.idempotency import Claim, Idempotency
from stylobate.outbox import Event

from stylobate_ratelimit.ban import AutomaticBan, Ban, BanPage, BanSubject, OperatorBan
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Charge, CheckGroup, Limit


@dataclass(frozen=True, slots=True)
class Missing:
    """What of the counts cannot be asked."""

    share: float
    """Of all subjects, 0 to 1."""
    details: str
    """What does not answer, and why; for people."""


class LimitStore(Protocol):
    """Counts charges.

    Atomicity: a batch is one step; no other batch of any process comes between its checks. Order: checks are decided in
    the order given, groups first to last, and each sees what the earlier ones charged. All or none: a check is charged at
    every level, or at no level when one of them refuses. Time is the store's own clock, the same for every process that
    shares it; when it is put back, nobody is refused for longer than a period, however far it was ahead. Expiry: a subject
    that is left alone for as long as its limit needs to be full again, and a second at least, is forgotten, whatever happened
    before. Missing: a subject that is not known has its whole limit. Counts of two tenants, of two limits (name, algorithm, a
    window's period) and of two subjects are apart. A shadow is charged where it has room, and is left out where it has none.
    Refusals of a subject at a limit that bans are counted in the same step. Parts: where only a part of the store does not
    answer, levels whose subject is counted there are decided as their limits say of that, and the checks are marked ``degraded``.
    """

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        """Decide and charge a batch.

        :param groups: at most 256 checks together; names of a group's levels differ; costs within each limit's capacity.
        :raises RedisUnavailableError: when the store does not answer; whether it charged is then unknown.
        """

    async def quiet(self, tenant: str, name: str, subject: str, lasts: timedelta) -> None:
        """Count no refusals of a subject at a limit for as long as it is banned, and forget those that led to it.

        :raises RedisUnavailableError: when the store does not answer.
        """

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        """Forget what was charged of a limit to a subject, and its refusals. Raises RedisUnavailableError."""

    async def forgive(self, tenant: str, name: str, subject: str) -> None:
        """Forget the refusals of a subject at a limit, and count them again. Raises RedisUnavailableError."""

    async def ready(self) -> None:
        """Return when all of the store answers. Raises RedisUnavailableError."""

    @property
    def is_spread(self) -> bool:
        """Whether a batch goes to several servers: then fewer and larger ones cost less."""

    @property
    def missing(self) -> "Missing | None":
        """The part that does not answer, which is not asked until :meth:`ready` has seen it answer; None: all of it does."""


class LocalStore(LimitStore, Protocol):
    """Counts of this process, which always answer."""

    async def charge_at(self, groups: Sequence[CheckGroup]) -> tuple[list[GroupOutcome], int]:
        """Charge, and return beside the outcomes the moment by the store's clock, in microseconds."""

    async def give_back(self, charges: Sequence[Charge], charged_at: int) -> None:
        """Take charges of that moment back, as far as time has not done so."""


class BanTransaction(Protocol):
    """Changes that happen together when the context ends well, and not at all when it ends with an error."""

    async def claim(self, claim: Claim | None) -> None:
        """Take the change's idempotency key, if it has one. Raises KeyTakenError."""

    async def answer(self, claim: Claim | None, result: object) -> None:
        """Keep what the change resulted in, for whoever sends it again with its key."""

    async def put(self, ban: OperatorBan) -> Ban:
        """Begin a ban, in place of any other of the subject; its strikes are forgotten."""

    async def begin(self, ban: AutomaticBan) -> Ban | None:
        """Begin an automatic ban unless one of the subject is in force; None then, also when two come at the same moment.

        It lasts ``first``, doubled for each automatic ban before it, at most ``ceiling``. Those before count until one ended
        longer ago than the ceiling, or was lifted.
        """

    async def lift(self, subject: BanSubject) -> Ban | None:
        """End the ban in force and forget the strikes; return it as it was, None when there is none."""

    async def emit(self, event: Event) -> None:
        """Leave an event in the outbox."""

    async def record(self, record: AuditRecord) -> None:
        """Write an audit record."""


class BanStore(Protocol):
    """Keeps bans. All times are the store's own clock's.

    Expiry: a ban whose time is over is not in force, without anybody doing anything. Order: changes of one subject are serial.
    Missing: who is not known is not banned. Any method raises DatabaseUnavailableError when the database does not answer: a
    change may have happened then, and to ask for the same again does no harm.
    """

    idempotency: Idempotency
    """Answers changes that come again with their key."""

    def transaction(self) -> AbstractAsyncContextManager[BanTransaction]:
        """Begin a transaction."""

    async def ban(self, subject: BanSubject) -> Ban | None:
        """Return the ban in force; None: there is none."""

    async def bans(self, tenant: str, level: str, after: tuple[str, str], limit: int) -> list[Ban]:
        """Return bans in force by level and subject.

        :param tenant: addresses are those of ``default``. :param level: empty: all. :param after: level and subject.
        """

    async def changes(self, since: datetime | None) -> BanPage:
        """Return what changed.

        :param since: ``as_of`` of an earlier page: what changed after it is in this one, lifted and over ones too; more may be.
            None: all that are in force.
        """

    def listen(self, callback: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """While the context lasts, call back soon after a ban began or was lifted, here or elsewhere.

        It may call too often, and it may miss: who must know looks by itself as well.
        """

    async def prune(self) -> int:
        """Remove a bounded number of bans that are over and whose strikes count no longer; return how many."""
