"""The memory adapter alone."""

from datetime import timedelta

import pytest
from stylobate.testing import FakeClock
from stylobate_ratelimit.store.memory import MemoryLimitStore

from .limits import charge, checks, gcra, window


async def test_made_up_subjects_cannot_fill_the_memory():
    """Past the maximum what was counted first is forgotten."""
    store = MemoryLimitStore(FakeClock().seconds, most_subjects=2_000)
    for number in range(10_000):
        await charge(store, checks(gcra(5), f"address-{number}"))
    assert len(store) <= 2_000 + 2_000 // 8


async def test_what_expired_is_forgotten_first():
    """Subjects whose limits are full again make room."""
    clock = FakeClock()
    store = MemoryLimitStore(clock.seconds)
    for number in range(1_500):
        await charge(store, checks((gcra(5), window(5)), f"a{number}", f"b{number}"))
    clock.advance(timedelta(minutes=2))
    for number in range(1_500):
        await charge(store, checks(gcra(5), f"c{number}"))
    assert len(store) <= 1_500


@pytest.mark.parametrize("limit", [window(2), gcra(2)], ids=["window", "gcra"])
async def test_a_clock_put_back_locks_nobody_out(limit):
    """What was charged ahead of the clock is waited for a period at most."""
    clock = FakeClock()
    store = MemoryLimitStore(lambda: 1_000_000 + clock.seconds())
    await charge(store, checks(limit, "anna", "anna"))
    clock.set(clock() - timedelta(days=1))
    for _ in range(3):
        outcome = await charge(store, checks(limit, "anna"))
        assert list(outcome.allowed) == [False]
        assert outcome.retry_after_ms[0] <= 60_000
        clock.advance(timedelta(seconds=10))
    clock.advance(timedelta(seconds=30))
    assert list((await charge(store, checks(limit, "anna"))).allowed) == [True]
