"""What a call of an action is charged on where it runs: the limit of its own, and the rules that count it."""

from stylobate.clients.action_limits import counted, level_of
from stylobate.clients.limit_facts import Facts
from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limit_outcome import LimitOutcome
from stylobate.clients.limit_rules import LimitRules
from stylobate.clients.limits import LimitsClient
from stylobate.declarations.model import RateLimit
from stylobate.identity import Principal


class ActionLimits:
    """Charges callers; what arrives together is asked together."""

    def __init__(self, client: LimitsClient, rules: LimitRules) -> None:
        self._check = client.check
        self._rules = rules
        self._levels: dict[str, tuple[LevelSpec, ...]] = {}

    def text(self, action: str, limit: RateLimit | None) -> str:
        """Return what names all that a call is charged on; empty: nothing. A door that charged the same says so."""
        return (limit.text if limit is not None else "") + self._rules.plan.digest(action)

    async def charge(self, action: str, limit: RateLimit | None, principal: Principal, address: str) -> LimitOutcome | None:
        """Charge one call of the action.

        Returns how the limits stand, None when the limiter could not be asked and lets the call pass.
        Raises the `RATE_LIMITED` error when one is reached; nothing is charged then.
        """
        levels, subjects = self._rules.plan.of_action(Facts(address, principal, action=action))
        if limit is not None:
            own = self._levels.get(action)
            if own is None:
                own = self._levels[action] = (level_of(action, limit),)
            levels, subjects = (*levels, *own) if levels else own, (*subjects, counted(principal, address))
        if not levels:
            return None
        outcome = await self._check(levels, subjects, tenant=principal.tenant)
        if not outcome.allowed:
            raise outcome.error()
        return None if outcome.degraded else outcome
