"""Both stores against a model that says in a few lines what limits mean: levels, costs, shadows, bans, a clock that steps.

So too what is left, when to come again, and a rule whose numbers change or are others for one subject.
"""

import asyncio
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stylobate.declarations.model import BanRule
from stylobate.redis import RedisManager
from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, CheckGroup, Limit
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.redis import RedisLimitStore

from .limits import gcra, level_set, window

MINUTE_US = 60_000_000
SUBJECTS = ("x", "y")
SLACK_US = 20_000_000
"""Between two looks at Valkey's clock: a slow machine."""
PATIENCE = timedelta(seconds=30)
_Key = tuple[str, str]


@dataclass
class Model:
    """Counts as the documentation says it: windows are lists of charges, gcra is time that was used up ahead."""

    charges: dict[_Key, list[int]] = field(default_factory=dict)
    ahead: dict[_Key, tuple[int, int]] = field(default_factory=dict)
    """How much time was used up ahead, and when that was so."""
    refusals: dict[_Key, list[int]] = field(default_factory=dict)

    def check(self, now: int, levels: list[tuple[Limit, str]], cost: int) -> tuple[bool, int]:
        """Decide a check; return whether it passes, and the flags."""
        over = [not self._has_room(now, limit, subject, cost * limit.cost) for limit, subject in levels]
        refusing = [at for at, is_over in enumerate(over) if is_over and not levels[at][0].is_shadow]
        flags = 0
        for at, (limit, subject) in enumerate(levels):
            if at in refusing:
                flags += 2 * 4**at * self._is_often(now, limit, subject)
            elif not refusing and over[at]:
                flags += 4**at
            elif not refusing:
                self._charge(now, limit, subject, cost * limit.cost)
        return not refusing, flags

    def passes(self, now: int, levels: list[tuple[Limit, str]], cost: int) -> bool:
        """Return whether a check would pass at a time, and leave everything as it is."""
        return deepcopy(self).check(now, levels, cost)[0]

    def left(self, now: int, limit: Limit, subject: str) -> int:
        """Return how many more single charges there is room for, of cost 1 each."""
        if limit.algorithm is Algorithm.WINDOW:
            return max(0, limit.limit - len(self.charges.get((limit.name, subject), [])))
        return (limit.tolerance_us - self._ahead(now, limit, (limit.name, subject))) // limit.interval_us

    def _has_room(self, now: int, limit: Limit, subject: str, cost: int) -> bool:
        key = limit.name, subject
        if limit.algorithm is Algorithm.WINDOW:
            times = [min(time, now) for time in self.charges.get(key, [])]
            self.charges[key] = [time for time in times if time > now - limit.period_us]
            return len(self.charges[key]) + cost <= limit.limit
        return self._ahead(now, limit, key) + cost * limit.interval_us <= limit.tolerance_us

    def _ahead(self, now: int, limit: Limit, key: _Key) -> int:
        ahead, at = self.ahead.get(key, (0, now))
        left = max(0, ahead - (now - at))
        if left > limit.tolerance_us:  # a clock that was put back keeps nobody out for longer than the burst
            left = limit.tolerance_us
            self.ahead[key] = left, now
        return left

    def _charge(self, now: int, limit: Limit, subject: str, cost: int) -> None:
        key = limit.name, subject
        if limit.algorithm is Algorithm.WINDOW:
            self.charges[key] += [now] * cost
        else:
            self.ahead[key] = self._ahead(now, limit, key) + cost * limit.interval_us, now

    def _is_often(self, now: int, limit: Limit, subject: str) -> bool:
        if limit.ban is None:
            return False
        known = self.refusals.setdefault((limit.name, subject), [])
        known.append(now)
        del known[: -limit.ban.after]
        return len(known) == limit.ban.after and now - known[0] < limit.ban.within // timedelta(microseconds=1)


BAN = BanRule(3, timedelta(minutes=2), timedelta(minutes=1), timedelta(hours=1))
LIMITS = [
    window(5, timedelta(minutes=3), name="w"),
    gcra(4, timedelta(minutes=4), name="g"),
    gcra(2, timedelta(minutes=1), burst=7, name="b"),
    replace(window(3, timedelta(minutes=2), name="s"), is_shadow=True),
    replace(window(6, timedelta(minutes=5), name="c"), cost=2),
    replace(gcra(2, timedelta(minutes=2), name="p"), counts="user", ban=BAN),
    window(2, timedelta(minutes=3), name="w"),
    gcra(9, timedelta(minutes=2), burst=3, name="g"),
]
"""The last two are overrides, or what a file says from now on: the same rules with other numbers."""
CHECKS = st.tuples(
    st.lists(st.sampled_from(range(len(LIMITS))), min_size=1, max_size=6, unique_by=lambda at: LIMITS[at].name),
    st.lists(st.sampled_from(SUBJECTS), min_size=6, max_size=6),
    st.integers(0, 2),
)
"""Levels, a subject for each, a cost."""
STEPS = st.integers(-3 * MINUTE_US, 6 * MINUTE_US)
"""Of the clock, back too."""


def _cost(levels: list[int], cost: int) -> int:
    return min([cost, *(LIMITS[level].capacity // LIMITS[level].cost for level in levels)])


def _hold(outcome: GroupOutcome, model: Model, now: int, pairs: list[tuple[Limit, str]], cost: int, slack_us: int) -> None:
    """Hold a check against the model: whether it passes, the flags, what is left at each level, and when to come again.

    :param slack_us: how far the store's clock may be from the model's.
    """
    assert (outcome.allowed[0], outcome.flags[0]) == model.check(now, pairs, cost)
    left = [model.left(now, *pair) for pair in pairs]
    assert list(outcome.standings[::2] or outcome.remaining) == left
    enforced = [number for (limit, _), number in zip(pairs, left, strict=True) if not limit.is_shadow]
    if outcome.allowed[0]:
        assert outcome.remaining[0] == min(enforced or left)
        assert outcome.retry_after_ms[0] == 0
    else:
        again = now + outcome.retry_after_ms[0] * 1000
        assert model.passes(again + slack_us, pairs, cost)
        assert not model.passes(again - slack_us - 1000, pairs, cost)


def _group(levels: list[int], subjects: list[str], cost: int) -> CheckGroup:
    limits = [LIMITS[level] for level in levels]
    return CheckGroup(level_set(*limits), subjects[: len(levels)], [_cost(levels, cost)])


@given(st.lists(st.tuples(STEPS, CHECKS), max_size=40))
def test_the_store_in_memory_does_what_the_model_says(steps: list[tuple[int, tuple[list[int], list[str], int]]]) -> None:
    """However the clock steps between checks."""
    model, now = Model(), 1_000 * MINUTE_US
    store = MemoryLimitStore(lambda: now / 1e6)
    for step, (levels, subjects, cost) in steps:
        now += step
        (outcome,) = asyncio.run(store.charge([_group(levels, subjects, cost)]))
        pairs = [(LIMITS[level], subject) for level, subject in zip(levels, subjects, strict=False)]
        _hold(outcome, model, now, pairs, _cost(levels, cost), 0)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.tuples(st.sampled_from(range(len(LIMITS))), st.sampled_from(SUBJECTS)), st.integers(-3, 6), max_size=8),
    st.lists(CHECKS, max_size=30),
)
def test_the_script_does_what_the_model_says(
    redis_url: str, past: dict[tuple[int, str], int], checks: list[tuple[list[int], list[str], int]]
) -> None:
    """With charges of the past; some lie ahead of a clock that was put back. All are half minutes off: seconds do not count."""

    async def play() -> None:
        async with RedisManager.open(redis_url) as redis:
            await redis.call("FLUSHDB")
            store, model = RedisLimitStore(redis, PATIENCE), Model()
            seconds, micros = map(int, await redis.call("TIME"))
            now = seconds * 1_000_000 + micros
            for (level, subject), minutes in past.items():
                limit, at = LIMITS[level], now - minutes * MINUTE_US - MINUTE_US // 2
                key = limit.name, subject
                if limit.algorithm is Algorithm.WINDOW:
                    model.charges[key] = [at, at]
                    name = f"{{limits}}:default:{limit.name}:w{limit.period_us}:{subject}"
                    await redis.call("DEL", name)  # an override of the same period counts under it too
                    await redis.call("RPUSH", name, at, at)
                else:
                    used = 2 * limit.interval_us
                    model.ahead[key] = used, at
                    await redis.call("SET", f"{{limits}}:default:{limit.name}:g:{subject}", at + used)
            outcomes = await store.charge([_group(*check) for check in checks])
            for outcome, (levels, subjects, cost) in zip(outcomes, checks, strict=True):
                pairs = [(LIMITS[level], subject) for level, subject in zip(levels, subjects, strict=False)]
                _hold(outcome, model, now, pairs, _cost(levels, cost), SLACK_US)

    asyncio.run(play())
