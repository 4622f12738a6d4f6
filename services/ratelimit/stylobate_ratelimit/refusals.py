"""What was refused: counted by rule, and told to who bans."""

from typing import Protocol

from stylobate.clients.limit_rows import ALLOWED, BANNED
from stylobate.telemetry import counter

from stylobate_ratelimit.ban import AutomaticBan, BanSubject
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import CheckGroup, Limit

_REFUSAL = ("rule", "mode")
_MOST_NAMES = 1000
"""Rules that refusals are told of by name."""


class Bans(Protocol):
    """What is used of :class:`stylobate_ratelimit.ban_manager.BanManager`."""

    @property
    def has_any(self) -> bool:
        """Whether anybody is banned."""

    def left_ms(self, subject: BanSubject) -> int:
        """Return what is left of a ban, at least 1; 0: the subject is not banned."""

    def ask(self, ban: AutomaticBan) -> None:
        """Have a subject banned soon, unless it is banned or asked for already."""


class Refusals:
    """Counts refusals, and asks for the bans that they lead to.

    :param bans: None: nobody is banned.
    """

    def __init__(self, bans: Bans | None) -> None:
        self._bans = bans
        self._refusals = counter("ratelimit_refusals", "Refusals by rule; of a shadow what it would have refused.", _REFUSAL)
        self._names: set[str] = set()

    def note(self, group: CheckGroup, outcome: GroupOutcome) -> None:
        """Count refusals by rule, and have those banned who are refused too often."""
        limits, width = group.levels.limits, len(group.levels)
        for at, (how, refusing, _, _, _, flags, *_) in enumerate(outcome.split()):
            if how != ALLOWED:
                self._count(limits[refusing], "banned" if how == BANNED else "enforced")
            for level, limit in enumerate(limits) if flags else ():
                if flags >> 2 * level & 1:
                    self._count(limit, "shadow")
                if flags >> 2 * level & 2 and limit.ban is not None and self._bans is not None:
                    subject = BanSubject(group.levels.tenants[level], limit.counts, group.subjects[at * width + level])
                    self._bans.ask(AutomaticBan(subject, limit.name, limit.ban.first, limit.ban.ceiling))

    def _count(self, limit: Limit, mode: str) -> None:
        name = limit.name
        if name not in self._names:
            if len(self._names) >= _MOST_NAMES:
                name = "other"
            self._names.add(name)
        self._refusals.labels(name, mode).inc()
