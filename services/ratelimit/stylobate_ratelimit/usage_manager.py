"""How subjects stand at the rules, for operators: looked up and given back by name."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limit_plan import Charge, LimitPlan, key_level
from stylobate.declarations.evaluate import Permissions
from stylobate.declarations.limits_file import EDGE_KEY
from stylobate.declarations.model import LimitRule
from stylobate.errors import InvalidInputError, PermissionDeniedError, UnauthenticatedError, Violation
from stylobate.idempotency import Claim
from stylobate.identity import DEFAULT_TENANT, Principal
from stylobate.logs import get_logger

from stylobate_ratelimit.errors import LimitRuleUnknownError
from stylobate_ratelimit.model import CheckGroup, LevelSet, Limit
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.store.port import BanStore

READ, WRITE = "limits:read", "limits:write"
_MS = timedelta(milliseconds=1)
_security = get_logger("security")


@dataclass(frozen=True, slots=True)
class Usage:
    """How a subject stands."""

    limit: Limit
    """The one that holds for it."""
    remaining: int
    reset: timedelta
    """Until it is full again."""
    degraded: bool


class UsageManager:
    """Finds rules by name: those of files and of actions, else those of the settings.

    :param rules: of files and actions, as they are now. :param read: returns the limit that a level asks for.
    :param key_limit: returns the limit that an API key has of its own, as text, empty for none. Raises ApiKeyUnknownError.
        None: there are no keys here.
    :param store: returns where idempotency keys are claimed.
    """

    def __init__(
        self,
        access: Permissions,
        limiter: RateLimiterManager,
        rules: Callable[[], Sequence[LimitRule]],
        read: Callable[[LevelSpec], Limit],
        store: Callable[[], BanStore],
        *,
        key_limit: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self._access = access
        self._limiter = limiter
        self._rules = rules
        self._read = read
        self._store = store
        self._key_limit = key_limit

    async def rules(self, principal: Principal) -> list[tuple[LimitRule, Limit]]:
        """Return the rules by name. Raises PermissionDeniedError."""
        await self._require(principal, READ)
        found = self._rules()
        plan = LimitPlan(found)
        return [
            (rule, self._read(plan.find(rule.name, [""] * len(rule.per), DEFAULT_TENANT).levels[0]))
            for rule in sorted(found, key=lambda rule: rule.name)
        ]

    async def usage(self, rule: str, parts: Sequence[str], tenant: str, principal: Principal) -> Usage:
        """Return how a subject stands at a rule.

        :raises PermissionDeniedError, LimitRuleUnknownError, InvalidInputError:
        """
        await self._require(principal, READ)
        limit, level_tenant, subject = await self._find(rule, parts, tenant)
        (outcome,), degraded = await self._limiter.look([CheckGroup(LevelSet((limit,), (level_tenant,)), [subject], [0])])
        return Usage(limit, outcome.remaining[0], outcome.reset_ms[0] * _MS, degraded)

    async def reset(self, rule: str, parts: Sequence[str], tenant: str, principal: Principal, claim: Claim | None = None) -> None:
        """Give a subject its whole limit back.

        :raises PermissionDeniedError, LimitRuleUnknownError, InvalidInputError: :raises RedisUnavailableError: not now.
        """
        await self._require(principal, WRITE)
        limit, level_tenant, subject = await self._find(rule, parts, tenant)
        if claim is None:
            await self._limiter.reset(level_tenant, limit, subject)
        else:
            async with self._store().transaction() as transaction:
                await transaction.claim(claim)
                await self._limiter.reset(level_tenant, limit, subject)
                await transaction.answer(claim, None)
        _security.info("limit_reset", rule=rule, subject=subject, actor=principal.id)

    async def _find(self, name: str, parts: Sequence[str], tenant: str) -> tuple[Limit, str, str]:
        """Return the limit, the tenant and the subject."""
        if name == EDGE_KEY and self._key_limit is not None:
            charge = await self._of_key(parts, self._key_limit)
        else:
            try:
                charge = LimitPlan(self._rules()).find(name, parts, tenant)
            except KeyError:
                raise LimitRuleUnknownError(f"There is no rule {name!r}.") from None
            except ValueError as error:
                raise InvalidInputError(violations=[Violation("/subject", str(error))]) from None
            if not all(parts):
                raise InvalidInputError(violations=[Violation("/subject", "is missing")])
        (spec,) = charge.levels
        return self._read(spec), spec.message.tenant or DEFAULT_TENANT, charge.subjects[0]

    async def _of_key(self, parts: Sequence[str], limit: Callable[[str], Awaitable[str]]) -> Charge:
        """Return the level of the limit that an API key has of its own."""
        if len(parts) != 1 or not parts[0]:
            raise InvalidInputError(violations=[Violation("/subject", f"{EDGE_KEY} counts by the id of an API key")])
        text = await limit(parts[0])
        if not text:
            raise LimitRuleUnknownError("The API key has no limit of its own.")
        return Charge((key_level(text),), (parts[0],))

    async def _require(self, principal: Principal, permission: str) -> None:
        if principal.is_anonymous:
            raise UnauthenticatedError
        if not await self._access.allowed(principal, permission):
            raise PermissionDeniedError(f"This takes {permission}.", metadata={"permission": permission})
