"""Checks that share their levels, as they are asked and answered in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Self

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import ALGORITHM_GCRA, ALGORITHM_WINDOW, Group, Level, Policy

_ALGORITHMS = {"window": ALGORITHM_WINDOW, "gcra": ALGORITHM_GCRA}


@dataclass(frozen=True, slots=True, eq=False)
class LevelSpec:
    """One level of a check. Make it once and keep it: checks are grouped by the identity of their levels."""

    name: str
    message: Level

    @classmethod
    def of_rule(cls, name: str) -> Self:
        """Return a limit that the ratelimit service knows by name: ``edge.ip``, ``edge.user``."""
        return cls(name, Level(rule=name))

    @classmethod
    def of_policy(
        cls, name: str, limit: int, period: timedelta, *, algorithm: str = "window", burst: int = 0, tenant: str = ""
    ) -> Self:
        """Return a limit that the caller brings; the name is its key and stands in headers: ``shop.place_order``.

        :param algorithm: ``window`` (exact, at most 1,000 a period) or ``gcra`` (``burst`` at once, 0 meaning ``limit``).
        :param tenant: of its subjects; empty: that of the check.
        """
        policy = Policy(name=name, algorithm=_ALGORITHMS[algorithm], limit=limit, burst=burst)
        policy.period.FromTimedelta(period)
        return cls(name, Level(policy=policy, tenant=tenant))


Levels = tuple[LevelSpec | str, ...]
GroupKey = tuple[Levels, str]
"""Levels and tenant: checks that share them are one group."""


def group_of(key: GroupKey, digest: int = 0) -> Group:
    """Return a group without checks.

    :param digest: of its policies, where they are known.
    """
    levels, tenant = key
    messages = [level.message if isinstance(level, LevelSpec) else Level(rule=level) for level in levels]
    return Group(levels=messages, tenant=tenant, known_policies=digest, reads_rows=True)


class AskedGroup(NamedTuple):
    """A group for a ratelimit service of the same process."""

    key: GroupKey
    subjects: list[str]
    """Those of the first check, then those of the next."""
    costs: Sequence[int]
    """One for each check, or none where each costs 1."""
    known_policies: int
    """The digest of what was told of the levels; 0: nothing was."""


class AnsweredGroup(NamedTuple):
    """What became of it: what of ``GroupOutcome`` in the contract has these names."""

    rows: bytes
    policies: Sequence[Policy]
    policies_digest: int
    degraded_checks: Sequence[int]


class AnsweredGroups(NamedTuple):
    """What became of several."""

    outcomes: Sequence[AnsweredGroup]
    degraded: bool
    is_spread: bool = False
    """Whether several servers count, each of which every batch costs something."""
