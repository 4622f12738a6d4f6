"""The limit that an action declares for itself: the narrow port that the manager asks, and the service behind it."""

from typing import Protocol

from stylobate.clients.limits import LevelSpec, LimitOutcome, LimitsClient
from stylobate.declarations.model import RateLimit


class ActionLimits(Protocol):
    """Charges callers."""

    async def charge(self, action: str, limit: RateLimit, tenant: str, subject: str) -> LimitOutcome | None:
        """Charge one call of the action to the subject.

        Returns how the limit stands, None when the limiter could not be asked and lets the call pass.
        Raises the `RATE_LIMITED` error when the limit is reached; nothing is charged then.
        """


class ServiceLimits:
    """Charges in the ratelimit service; what arrives together is asked together."""

    def __init__(self, client: LimitsClient) -> None:
        self._check = client.check
        self._levels: dict[str, tuple[LevelSpec, ...]] = {}

    async def charge(self, action: str, limit: RateLimit, tenant: str, subject: str) -> LimitOutcome | None:
        """See ActionLimits."""
        levels = self._levels.get(action)
        if levels is None:
            level = LevelSpec.of_policy(action, limit.limit, limit.period, algorithm=limit.algorithm, burst=limit.burst)
            levels = self._levels[action] = (level,)
        outcome = await self._check(levels, (subject,), tenant=tenant)
        if not outcome.allowed:
            raise outcome.error()
        return None if outcome.degraded else outcome


class NoLimits:
    """Lets every call pass, uncounted."""

    async def charge(self, action: str, limit: RateLimit, tenant: str, subject: str) -> LimitOutcome | None:
        """See ActionLimits."""
        del action, limit, tenant, subject
        return None
