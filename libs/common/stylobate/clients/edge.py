"""What every door of the platform asks before it serves anybody: who is banned, and what is charged."""

from stylobate.clients.bans import BanList
from stylobate.clients.limit_facts import Facts
from stylobate.clients.limit_outcome import LimitOutcome
from stylobate.clients.limit_plan import Charge, LimitPlan
from stylobate.clients.limit_rules import LimitRules
from stylobate.clients.limits import EDGE_BOTH, EDGE_IP, EDGE_USER, LimitsClient
from stylobate.identity.client_address import limit_key
from stylobate.identity.principal import ANONYMOUS, Principal


class Edge:
    """Refuses who is banned, which costs nobody a question, and charges everybody else by the rules that hold.

    :param limits: None: nobody is charged here.
    """

    def __init__(self, limits: LimitsClient | None, bans: BanList, rules: LimitRules) -> None:
        self.limits = limits
        self.bans = bans
        self._rules = rules

    @property
    def plan(self) -> LimitPlan:
        """The rules as they are now."""
        return self._rules.plan

    def refuse_banned(self, address: str, principal: Principal = ANONYMOUS) -> None:
        """Return when neither the address nor the caller is banned. Raises BannedError."""
        self.bans.refuse(address, principal)

    async def charge(
        self, address: str, principal: Principal = ANONYMOUS, *, channel: str = "", is_address_charged: bool = False
    ) -> None:
        """Charge where a call comes from, and who calls when its token was verified.

        :param channel: that it is about. :param is_address_charged: whether the address was charged before, alone.
        :raises BannedError: one is banned; nothing is charged. :raises RateLimitedError: one calls too often; nothing is charged.
        """
        self.bans.refuse(address, principal)
        if self.limits is None:
            return
        if self.plan.is_plain and not principal.rate_limit:
            charge = _plain(address, principal, is_address_charged=is_address_charged)
        else:
            facts = Facts(address, principal, channel=channel)
            charge = self.plan.at_door(facts, is_address_charged=is_address_charged)
        await check(self.limits, charge)


def _plain(address: str, principal: Principal, *, is_address_charged: bool) -> Charge:
    """Return what is charged where there are no rules but those of the edge."""
    subjects = () if is_address_charged or not address else (limit_key(address),)
    if principal.is_anonymous:
        return Charge(EDGE_IP if subjects else (), subjects)
    return Charge(EDGE_BOTH if subjects else EDGE_USER, (*subjects, principal.id))


async def check(limits: LimitsClient, charge: Charge) -> LimitOutcome | None:
    """Charge; return how it stands, None when there was nothing to charge. Raises RateLimitedError, BannedError."""
    if not charge.levels:
        return None
    outcome = await limits.check(charge.levels, charge.subjects)
    if not outcome.allowed:
        raise outcome.error()
    return outcome
