"""What holds of counts that cannot be asked: what ``on_redis_down`` of each limit says."""

from collections.abc import Sequence

from stylobate.clients.limit_rows import ALLOWED, REFUSED
from stylobate.value_kinds import OnUnreachable

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Charge, CheckGroup
from stylobate_ratelimit.store.port import LocalStore

_CLOSED_RETRY_MS = 1000


class StandIn:
    """Decides in place of the shared store, or of the part of it that does not answer.

    :param local: where limits that are ``local`` are counted. :param policy: of limits that do not say what holds of them.
    """

    def __init__(self, local: LocalStore, policy: OnUnreachable = OnUnreachable.LOCAL) -> None:
        self.local = local
        self.policy = policy

    async def charge(self, group: CheckGroup) -> tuple[GroupOutcome, int]:
        """Decide by what holds of each level: one that is closed refuses, those that are open pass, others are counted.

        :returns: beside the outcome the moment by the clock of this process, in microseconds. What is not counted stands at 0.
        """
        limits = group.levels.limits
        holds = [limit.on_redis_down or self.policy for limit in limits]
        closed = [at for at, how in enumerate(holds) if how is OnUnreachable.CLOSED and not limits[at].is_shadow]
        counted = [at for at, how in enumerate(holds) if how is OnUnreachable.LOCAL]
        if closed or not counted:
            return _same(group, closed[0] if closed else None), 0
        if len(counted) == len(limits):
            (outcome,), at = await self.local.charge_at([group])
            return outcome, at
        (outcome,), at = await self.local.charge_at([group.of_levels(counted)])
        return outcome.of_levels(counted, len(limits)), at

    async def give_back(self, charges: Sequence[Charge], charged_at: int) -> None:
        """Take charges of that moment back; of what was not counted here there are none."""
        await self.local.give_back(charges, charged_at)


def _same(group: CheckGroup, refused: int | None) -> GroupOutcome:
    """Answer every check alike: by the level that refuses, or that all pass."""
    row = [ALLOWED, 0, 0, 0, 0, 0] if refused is None else [REFUSED, refused, 0, 0, _CLOSED_RETRY_MS, 0]
    width = len(group.levels)
    return GroupOutcome.of([row + [0] * (2 * width if width > 1 else 0)] * len(group))
