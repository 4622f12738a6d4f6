"""The manager's rules: what a batch may hold, and what holds while the shared store is away."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.testing import FakeClock
from stylobate.value_kinds import OnUnreachable
from stylobate_ratelimit.errors import LimitInvalidError, LimitRuleUnknownError
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, CheckGroup, Limit
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore

from .limits import MINUTE, checks, gcra, level_set, window


class SwitchableStore(MemoryLimitStore):
    """A store that can be away."""

    is_away = False
    asked = 0

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        """Count how often it was asked."""
        self.asked += 1
        await self.ready()
        return await super().charge(groups)

    async def ready(self) -> None:
        """Fail while away."""
        if self.is_away:
            raise RedisUnavailableError


def manager_of(shared: SwitchableStore, on_redis_down: OnUnreachable = OnUnreachable.LOCAL) -> RateLimiterManager:
    """Make a manager over the store."""
    rules = {"edge.ip": gcra(3, name="edge.ip")}
    return RateLimiterManager(shared, StandIn(MemoryLimitStore(FakeClock().seconds), on_redis_down), rules)


@pytest.fixture
def shared() -> SwitchableStore:
    """Give a store that answers until told otherwise."""
    return SwitchableStore(FakeClock().seconds)


async def test_checks_are_decided_by_the_shared_store(shared):
    """As long as it answers nothing is degraded."""
    manager = manager_of(shared)
    outcomes = await manager.check([checks(window(1), "anna", "anna")])
    assert not outcomes.degraded
    assert list(outcomes.groups[0].allowed) == [True, False]
    assert (await manager.health()).status is Status.HEALTHY


async def test_a_process_counts_by_itself_while_the_store_is_away(shared):
    """`local`: limits still hold, said to be degraded; nothing waits for the store a second time."""
    manager = manager_of(shared)
    await manager.check([checks(window(2), "anna")])
    shared.is_away = True
    for _ in range(3):
        outcomes = await manager.check([checks(window(2), "anna", "anna", "anna")])
        assert outcomes.degraded
    assert list(outcomes.groups[0].allowed) == [False, False, False]
    assert shared.asked == 2
    health = await manager.health()
    assert health.status is Status.DEGRADED
    assert health.details.startswith("Redis cannot be asked (")
    assert health.details.endswith("); rate limits are local")


@pytest.mark.parametrize(("policy", "allowed"), [(OnUnreachable.OPEN, True), (OnUnreachable.CLOSED, False)])
async def test_open_and_closed_do_as_they_say(shared, policy, allowed):
    """`open` lets everything pass, `closed` nothing and says when to come back."""
    shared.is_away = True
    manager = manager_of(shared, policy)
    outcomes = await manager.check([checks(window(1), "anna", "anna")])
    assert outcomes.degraded
    assert list(outcomes.groups[0].allowed) == [allowed, allowed]
    assert list(outcomes.groups[0].retry_after_ms) == [0, 0] if allowed else [1000, 1000]


def test_a_rule_is_known_by_its_name(shared):
    """Rules come from the settings; another name is an error that says which there are."""
    manager = manager_of(shared)
    assert manager.rule("edge.ip").limit == 3
    with pytest.raises(LimitRuleUnknownError, match=r"There is no rule 'edge\.pi'; known: edge\.ip\."):
        manager.rule("edge.pi")


@pytest.mark.parametrize(
    ("group", "detail"),
    [
        (checks((window(1), gcra(2)), "a"), "not a whole number of checks"),
        (checks(window(1), "anna", ""), "1 to 512 characters"),
        (checks(window(1), "a" * 513), "1 to 512 characters"),
        (checks(window(1), "a", "b", costs=[1]), "1 costs for 2 checks"),
        (checks(window(5), "a", costs=[6]), "A cost of 6 could never pass; the tightest limit takes 5 at once"),
        (checks((gcra(5, burst=2), window(5)), "a", "a", costs=[3]), "the tightest limit takes 2 at once"),
        (checks(window(1), *["a"] * 257), "258 checks in one call; at most 256"),
    ],
)
async def test_a_batch_that_makes_no_sense_is_refused_whole(shared, group, detail):
    """Nothing is charged, also not for the sound group before it."""
    manager = manager_of(shared)
    with pytest.raises(LimitInvalidError, match=detail):
        await manager.check([checks(window(1), "zoe"), group])
    assert shared.asked == 0


@pytest.mark.parametrize(
    ("limits", "tenant", "detail"),
    [
        ((), "default", "1 to 16 levels, not 0"),
        (tuple(window(1, name=f"l{i}") for i in range(17)), "default", "1 to 16 levels, not 17"),
        ((window(1), window(2)), "default", "names a limit twice"),
        ((window(1),), "", "'' is not a tenant"),
        ((window(1),), "a:b", "'a:b' is not a tenant"),
    ],
)
def test_levels_that_make_no_sense_together_are_refused(limits, tenant, detail):
    """No level, too many, one twice, a tenant that could reach another's keys."""
    with pytest.raises(LimitInvalidError, match=detail):
        level_set(*limits, tenant=tenant)


@pytest.mark.parametrize(
    ("name", "algorithm", "limit", "period", "burst"),
    [
        ("a:b", Algorithm.WINDOW, 1, MINUTE, 0),
        ("a", Algorithm.GCRA, 1, MINUTE, 2**31 - 1),
        ("", Algorithm.WINDOW, 1, MINUTE, 0),
        ('a"b', Algorithm.WINDOW, 1, MINUTE, 0),
        ("a", Algorithm.WINDOW, 0, MINUTE, 0),
        ("a", Algorithm.WINDOW, 1001, MINUTE, 0),
        ("a", Algorithm.GCRA, 1001, timedelta(milliseconds=1), 0),
        ("a", Algorithm.GCRA, 1, timedelta(0), 0),
        ("a", Algorithm.GCRA, 1, timedelta(days=32), 0),
        ("a", Algorithm.GCRA, 1, MINUTE, 2**31),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(name, algorithm, limit, period, burst):
    """A name that could reach other keys or headers, a limit of nothing, one that cannot be counted exactly."""
    with pytest.raises(LimitInvalidError):
        Limit(name, algorithm, limit, period, burst)
