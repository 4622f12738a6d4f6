"""The limit that an action declares for itself, charged in the ratelimit service."""

from stylobate.clients.limits import LevelSpec, LimitOutcome, LimitsClient
from stylobate.declarations.model import RateLimit


class ActionLimits:
    """Charges callers; what arrives together is asked together."""

    def __init__(self, client: LimitsClient) -> None:
        self._check = client.check
        self._levels: dict[str, tuple[LevelSpec, ...]] = {}

    async def charge(self, action: str, limit: RateLimit, tenant: str, subject: str) -> LimitOutcome | None:
        """Charge one call of the action to the subject.

        Returns how the limit stands, None when the limiter could not be asked and lets the call pass.
        Raises the `RATE_LIMITED` error when the limit is reached; nothing is charged then.
        """
        levels = self._levels.get(action)
        if levels is None:
            level = LevelSpec.of_policy(action, limit.limit, limit.period, algorithm=limit.algorithm, burst=limit.burst)
            levels = self._levels[action] = (level,)
        outcome = await self._check(levels, (subject,), tenant=tenant)
        if not outcome.allowed:
            raise outcome.error()
        return None if outcome.degraded else outcome
