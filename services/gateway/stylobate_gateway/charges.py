"""What a request is charged on, and whom each level of it counts: decided here and nowhere else."""

from collections.abc import Awaitable
from typing import NamedTuple, Self

from stylobate.bounded_dict import BoundedDict
from stylobate.clients.action_limits import counted, level_of
from stylobate.clients.edge import Edge
from stylobate.clients.limit_facts import Facts
from stylobate.clients.limit_groups import LevelSpec
from stylobate.clients.limit_outcome import LimitOutcome
from stylobate.clients.limit_plan import Charge, LimitPlan
from stylobate.clients.limits import EDGE_IP, EDGE_USER
from stylobate.declarations.model import RateLimit
from stylobate.identity import DEFAULT_TENANT, Principal, limit_key

from stylobate_gateway.called_actions import PREFIX, Found
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.exchange import Exchange

_MOST_KEPT = 4096


class _Levels(NamedTuple):
    """The levels of a request, by what is charged of it; each tuple is kept, so that checks that share it are one group."""

    address: tuple[LevelSpec, ...]
    user: tuple[LevelSpec, ...]
    both: tuple[LevelSpec, ...]

    @classmethod
    def of(cls, *own: LevelSpec) -> Self:
        """Return those of the edge, and behind them what the thing that is asked for has of its own."""
        return cls((*EDGE_IP, *own), (*EDGE_USER, *own), (*EDGE_IP, *EDGE_USER, *own))


_EDGE = _Levels.of()


class Due(NamedTuple):
    """What requests are charged on that have a head, a caller and an address in common."""

    principal: Principal
    found: Found | set[str]
    plan: LimitPlan
    address: str
    levels: tuple[LevelSpec, ...]
    subjects: tuple[str, ...]
    limit: str = ""
    """What names the action's own limit and its rules, which are among the levels; see ``ExecuteActionRequest.charged_limit``."""

    def holds(self, exchange: Exchange, principal: Principal, plan: LimitPlan) -> bool:
        """Return whether a request is charged on the same."""
        return (
            self.principal is principal
            and self.found is exchange.found
            and self.plan is plan
            and self.address == exchange.call.client_address
        )


class Charges:
    """Charges requests. Everything that is known of a request is charged in one check: all of it or nothing.

    The action's own limit is part of that, so that its service need not charge it: for its callers by name, and where it is
    public for those without one by their address. It counts them within their tenant; the rules of the edge know none.

    Who is banned is refused before: that costs nobody a question, and charges nobody.

    :param edge: who is banned, and which rules hold.
    :param catalogue: the actions, as far as they are known.
    """

    def __init__(self, edge: Edge, catalogue: Catalogue) -> None:
        self._edge = edge
        self._catalogue = catalogue
        self._kept: BoundedDict[tuple[str, str, str], _Levels] = BoundedDict(_MOST_KEPT)
        """By action, limit and tenant."""

    async def address(self, exchange: Exchange) -> None:
        """Charge where a request comes from and nothing else: nothing else of it is believed, or looked at yet.

        :raises BannedError: the address is banned. :raises RateLimitedError: too many; nothing is charged then.
        """
        address, plan = exchange.call.client_address, self._edge.plan
        self._edge.refuse_banned(address)
        if plan.is_plain:
            await self._charge(exchange, _EDGE.address, (limit_key(address),))
        else:
            await self._charge(exchange, *plan.of_address(address))

    def begin(self, exchange: Exchange, principal: Principal) -> Awaitable[LimitOutcome] | None:
        """Begin to charge a request by everything that is known of it; what comes of it is for :meth:`end`. None: nothing is.

        :raises BannedError: the address or the caller is banned.
        """
        edge, due = self._edge, exchange.head.due
        edge.bans.refuse(exchange.call.client_address, principal)
        if due is None or not due.holds(exchange, principal, edge.plan):
            due = exchange.head.due = self._due(exchange, principal)
        if edge.limits is None or not due.levels:
            return None
        exchange.charged_limit = due.limit
        return edge.limits.check(due.levels, due.subjects)

    @staticmethod
    def end(exchange: Exchange, outcome: LimitOutcome) -> None:
        """Note how that went. Raises RateLimitedError, BannedError; nothing is charged then."""
        exchange.outcome = outcome
        if not outcome.allowed:
            raise outcome.error()
        if not outcome.is_decided:  # while nobody can be asked, what guards something is counted where it runs
            exchange.charged_limit = ""

    async def rest(self, exchange: Exchange, principal: Principal) -> None:
        """Charge a request by all but its address, which was charged before its token was verified.

        :raises BannedError: the caller is banned. :raises RateLimitedError: too many; nothing is charged then.
        """
        self._edge.bans.refuse(exchange.call.client_address, principal)
        due = self._due(exchange, principal, is_address_charged=True)
        exchange.charged_limit = due.limit if self._edge.limits is not None and due.levels else ""
        await self._charge(exchange, due.levels, due.subjects)

    def of_caller(self, exchange: Exchange) -> Charge:
        """Return the limits that count who asks, at whatever they ask for: rules, and the limits that actions have."""
        call, plan = exchange.call, self._edge.plan
        principal = call.principal
        levels, subjects = plan.of_caller(Facts(call.client_address, principal))
        limited = [
            _Limited(action.name, action.limit)
            for action in self._catalogue.called.values()
            if action.limit is not None and (action.is_public or not principal.is_anonymous)
        ]
        own = tuple(self._of(action, principal.tenant).user[-1] for action in limited)
        return Charge((*levels, *own), (*subjects, *[counted(principal, call.client_address)] * len(own)))

    async def look(self, levels: tuple[LevelSpec, ...], subjects: tuple[str, ...]) -> LimitOutcome | None:
        """Return how limits stand, and charge nothing; None: nobody is charged here."""
        limits = self._edge.limits
        return None if limits is None or not levels else await limits.check(levels, subjects, cost=0)

    def _due(self, exchange: Exchange, principal: Principal, *, is_address_charged: bool = False) -> Due:
        """Return what a request is charged on: it depends on nothing but what stands in the answer, and on the head."""
        plan, address, found = self._edge.plan, exchange.call.client_address, exchange.found
        action = _limited(found, principal)
        if principal.rate_limit or not plan.is_plain:
            return self._by_rules(exchange, principal, action, is_address_charged=is_address_charged)
        levels = _EDGE if action is None else self._of(action, principal.tenant)
        own = () if action is None else (counted(principal, address),)
        limit = "" if action is None else action.limit.text
        if principal.is_anonymous:
            return Due(principal, found, plan, address, levels.address, (limit_key(address), *own), limit)
        if is_address_charged:
            return Due(principal, found, plan, address, levels.user, (principal.id, *own), limit)
        return Due(principal, found, plan, address, levels.both, (limit_key(address), principal.id, *own), limit)

    def _by_rules(self, exchange: Exchange, principal: Principal, action: "_Limited | None", *, is_address_charged: bool) -> Due:
        plan, call, found = self._edge.plan, exchange.call, exchange.found
        called = found.action if isinstance(found, Found) and _may_be_charged(found, principal) else None
        facts = Facts(
            call.client_address,
            principal,
            f"{_method(exchange)} {exchange.path}",
            _place(exchange),
            called.name if called is not None else "",
            headers=dict(exchange.head.sent) if plan.reads_headers else {},
        )
        levels, subjects = plan.at_door(facts, is_address_charged=is_address_charged)
        if called is not None:
            of_action = plan.of_action(facts)
            levels, subjects = (*levels, *of_action.levels), (*subjects, *of_action.subjects)
        if action is not None:
            own, subject = self._of(action, principal.tenant).user[-1], counted(principal, call.client_address)
            levels, subjects = (*levels, own), (*subjects, subject)
        limit = "" if called is None else (action.limit.text if action is not None else "") + plan.digest(called.name)
        return Due(principal, found, plan, call.client_address, levels, subjects, limit)

    async def _charge(self, exchange: Exchange, levels: tuple[LevelSpec, ...], subjects: tuple[str, ...]) -> None:
        limits = self._edge.limits
        if limits is not None and levels:
            self.end(exchange, await limits.check(levels, subjects))

    def _of(self, action: "_Limited", tenant: str) -> _Levels:
        key = (action.name, action.limit.text, tenant)
        levels = self._kept.get(key)
        if levels is None:
            levels = _Levels.of(level_of(action.name, action.limit, "" if tenant == DEFAULT_TENANT else tenant))
            self._kept.put(key, levels)
        return levels


class _Limited(NamedTuple):
    name: str
    limit: RateLimit


def _limited(found: Found | set[str], principal: Principal) -> _Limited | None:
    """Return the action that a request is for, with its limit; None where it has none.

    Nor of one that this caller may not ask for without a name: its service says so, and nobody runs anything.
    """
    if not isinstance(found, Found) or (limit := found.action.limit) is None:
        return None
    return _Limited(found.action.name, limit) if _may_be_charged(found, principal) else None


def _may_be_charged(found: Found, principal: Principal) -> bool:
    return found.action.is_public or not principal.is_anonymous


def _place(exchange: Exchange) -> str:
    """Return what counts as one route: an action's as it is declared, else the first three segments of the path."""
    found = exchange.found
    if isinstance(found, Found):
        return str(found.action.route or f"POST {PREFIX}{found.action.name}")
    return f"{_method(exchange)} {'/'.join(exchange.path.split('/', 4)[:4])}"


def _method(exchange: Exchange) -> str:
    """Return the method whose rules count: HEAD is served as GET is, and costs as much."""
    return "GET" if exchange.method == "HEAD" else exchange.method
