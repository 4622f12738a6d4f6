"""The limit that an action declares: the same level, counting the same callers, wherever it is charged."""

from stylobate.clients.limit_groups import LevelSpec
from stylobate.declarations.model import RateLimit
from stylobate.identity.client_address import limit_key
from stylobate.identity.principal import Principal

_ANONYMOUS = "anonymous"


def level_of(action: str, limit: RateLimit, tenant: str = "") -> LevelSpec:
    """Return the level of an action's limit.

    :param tenant: of its callers; empty: that of the check.
    """
    return LevelSpec.of_policy(action, limit.limit, limit.period, algorithm=limit.algorithm, burst=limit.burst, tenant=tenant)


def counted(principal: Principal, address: str) -> str:
    """Return whom it counts: a caller by name; one without by where they are, or one of them would use it up for all.

    :param address: the client's; empty where it is not known.
    """
    if principal.subject:
        return principal.subject
    return f"{_ANONYMOUS}@{limit_key(address)}" if address else _ANONYMOUS
