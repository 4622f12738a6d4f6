"""What every store of limits promises."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from stylobate.clients.limit_plan import key_level
from stylobate.declarations.model import BanRule
from stylobate_ratelimit.convert import from_level
from stylobate_ratelimit.model import Limit

from .limits import MINUTE, charge, checks, gcra, window

SHORT = timedelta(milliseconds=200)


@pytest.mark.parametrize("limit", [window(3), gcra(3)], ids=["window", "gcra"])
async def test_exactly_the_limit_passes(store, limit):
    """Of five checks in one batch the first three pass; what is left counts down, a refusal says when to come back."""
    outcome = await charge(store, checks(limit, *["anna"] * 5))
    assert list(outcome.allowed) == [True, True, True, False, False]
    assert list(outcome.remaining) == [2, 1, 0, 0, 0]
    assert list(outcome.retry_after_ms[:3]) == [0, 0, 0]
    # A window is free again when its first charge leaves; gcra when one share of the period has passed.
    wait = 60_000 if limit.algorithm == "window" else 20_000
    assert list(outcome.retry_after_ms[3:]) == [wait, wait]
    assert outcome.reset_ms[2] == 60_000


@pytest.mark.parametrize("limit", [window(3, SHORT), gcra(3, SHORT)], ids=["window", "gcra"])
async def test_nobody_is_locked_out(under_test, limit):
    """Who went on knocking while refused has the whole limit again as soon as the period has passed."""
    store = under_test.store
    assert not all((await charge(store, checks(limit, *["anna"] * 5))).allowed)
    for _ in range(4):
        await under_test.pass_time(SHORT / 20)
        await charge(store, checks(limit, *["anna"] * 5))
    await under_test.pass_time(SHORT * 1.5)
    outcome = await charge(store, checks(limit, *["anna"] * 4))
    assert list(outcome.allowed) == [True, True, True, False]


@pytest.mark.parametrize("limit", [window(4, SHORT), gcra(4, SHORT)], ids=["window", "gcra"])
async def test_a_retry_after_the_time_named_passes(under_test, limit):
    """Retry-After is neither a guess nor a lie."""
    refused = await charge(under_test.store, checks(limit, *["anna"] * 5))
    assert not refused.allowed[4]
    await under_test.pass_time(timedelta(milliseconds=refused.retry_after_ms[4]))
    assert (await charge(under_test.store, checks(limit, "anna"))).allowed[0]


async def test_no_period_sees_more_than_the_limit(under_test):
    """A window holds wherever it is laid: charges hammered over several periods, each `limit` apart, are a period apart."""
    store, limit = under_test.store, window(5, SHORT)
    passed: list[tuple[float, float]] = []
    started = under_test.seconds()
    while under_test.seconds() - started < 4 * SHORT.total_seconds():
        before = under_test.seconds()
        outcome = await charge(store, checks(limit, "anna"))
        if outcome.allowed[0]:
            passed.append((before, under_test.seconds()))
        await under_test.pass_time(timedelta(milliseconds=3))
    for (earlier, _), (_, later) in zip(passed, passed[5:], strict=False):
        assert later - earlier >= SHORT.total_seconds()
    assert len(passed) >= 5 * 3, "the limit was not used"
    assert all(first <= second for first, second in pairwise(passed))


async def test_a_window_slides(under_test):
    """Charges leave one by one, not all at the turn of a clock period."""
    store, limit = under_test.store, window(3, SHORT * 4)
    await charge(store, checks(limit, "anna"))
    await under_test.pass_time(SHORT * 2)
    await charge(store, checks(limit, "anna", "anna"))
    await under_test.pass_time(SHORT * 2)
    outcome = await charge(store, checks(limit, "anna", "anna"))
    assert list(outcome.allowed) == [True, False]


async def test_a_burst_passes_at_once_and_the_rate_holds_after_it(under_test):
    """gcra: the burst whole, then one for each share of the period."""
    store, limit = under_test.store, gcra(2, SHORT, burst=6)
    assert sum((await charge(store, checks(limit, *["anna"] * 10))).allowed) == 6
    await under_test.pass_time(SHORT / 2)
    later = sum((await charge(store, checks(limit, *["anna"] * 10))).allowed)
    assert 1 <= later < 6


async def test_levels_are_charged_all_or_none(under_test):
    """A check that one level refuses costs nothing at the others, within a batch too."""
    store = under_test.store
    levels = (window(5, name="ip"), gcra(2, name="user"))
    group = checks(levels, *["1.2.3.4", "anna"] * 4, *["1.2.3.4", "ben"] * 2)
    outcome = await charge(store, group)
    assert list(outcome.allowed) == [True, True, False, False, True, True]
    if under_test.is_one_step:
        assert list(outcome.level) == [1] * 6  # the one that refused, else the one with the least left
        assert list(outcome.remaining) == [1, 0, 0, 0, 1, 0]
    outcome = await charge(store, checks(levels, "1.2.3.4", "cara", "1.2.3.4", "cara"))
    assert list(outcome.allowed) == [True, False]
    assert list(outcome.level) == [0, 0]


async def test_each_of_several_levels_says_how_it_stands(store):
    """What is left at it and until when, after the charge; where another level refuses, as it was."""
    levels = (gcra(4, name="ip"), window(2, name="user"), gcra(1, name="tenant"))
    outcome = await charge(store, checks(levels, *["1.2.3.4", "anna", "acme"] * 2, costs=[1, 1]))
    full_in = 60_000 // 4
    assert list(outcome.allowed) == [True, False]
    assert list(outcome.standings) == [3, full_in, 1, 60_000, 0, 60_000] * 2
    outcome = await charge(store, checks(levels, "1.2.3.4", "ben", "globex", costs=[0]))
    assert list(outcome.standings) == [3, outcome.standings[1], 2, 0, 1, 0]
    assert 0 < outcome.standings[1] <= full_in
    assert list((await charge(store, checks(levels[0], "1.2.3.4"))).standings) == []


async def test_of_two_levels_that_refuse_the_longer_wait_is_told(store):
    """A retry after the time named must not run into the other level."""
    levels = (gcra(1, MINUTE, name="short"), window(1, timedelta(hours=1), name="long"))
    outcome = await charge(store, checks(levels, *["anna", "anna"] * 2))
    assert (outcome.level[1], outcome.retry_after_ms[1]) == (1, 3_600_000)


async def test_groups_see_what_earlier_groups_charged(store):
    """A batch is decided in order, whatever groups its checks stand in."""
    limit = window(3)
    one, two, three = await store.charge(
        [checks(limit, "anna", "anna"), checks((gcra(9), limit), "x", "anna"), checks(limit, "anna")]
    )
    assert [*one.allowed, *two.allowed, *three.allowed] == [True, True, True, False]


@pytest.mark.parametrize("limit", [window(5), gcra(5)], ids=["window", "gcra"])
async def test_a_cost_is_charged_whole_or_not(store, limit):
    """A cost that does not fit is refused, a smaller one still passes; a cost of 0 only looks."""
    outcome = await charge(store, checks(limit, *["anna"] * 5, costs=[3, 3, 0, 2, 0]))
    assert list(outcome.allowed) == [True, False, True, True, True]
    assert list(outcome.remaining) == [2, 2, 2, 0, 0]


@pytest.mark.parametrize("limit", [window(1), gcra(1)], ids=["window", "gcra"])
async def test_tenants_names_and_subjects_are_apart(store, limit):
    """Nothing that one of them uses up is missing for another, even where their texts run together alike."""
    other = type(limit)("orders.x", limit.algorithm, 1, MINUTE)
    for group in (
        checks(limit, "anna"),
        checks(limit, "anna", tenant="acme"),
        checks(limit, "ben"),
        checks(other, "anna"),
        checks(limit, "acme:anna"),
        checks(limit, "x:anna"),
    ):
        assert (await charge(store, group)).allowed == [True]
        assert (await charge(store, group)).allowed == [False]


async def test_windows_of_one_name_and_several_periods_are_apart(store):
    """`10/minute` and `10/hour` of one name do not prune each other's charges."""
    assert sum((await charge(store, checks(window(2, SHORT), *["anna"] * 3))).allowed) == 2
    assert sum((await charge(store, checks(window(3, MINUTE), *["anna"] * 4))).allowed) == 3


@pytest.mark.parametrize("limit", [window(50), gcra(50)], ids=["window", "gcra"])
async def test_concurrent_checks_pass_exactly_the_limit(store, limit):
    """Check and charge are one step: of 300 at a time exactly 50 pass."""

    async def one() -> bool:
        return bool((await charge(store, checks(limit, "anna"))).allowed[0])

    assert sum(await asyncio.gather(*(one() for _ in range(300)))) == 50


async def test_a_full_batch_of_many_levels_is_taken(store):
    """256 checks of 8 levels each are 2,048 keys in one step."""
    levels = tuple(gcra(10, name=f"l{i}") if i % 2 else window(10, name=f"l{i}") for i in range(8))
    subjects = [f"subject-{number}-{level}" for number in range(256) for level in range(8)]
    outcome = await charge(store, checks(levels, *subjects))
    assert list(outcome.allowed) == [True] * 256
    assert list(outcome.remaining) == [9] * 256


async def test_a_store_is_ready(store):
    """A store that runs says so."""
    await store.ready()


async def test_an_empty_batch_is_answered(store):
    """No group, and a group of no check, are not fault."""
    assert await store.charge([]) == []
    (outcome,) = await store.charge([checks(window(1))])
    assert list(outcome.allowed) == []


def _banning(limit: Limit, after: int = 3, within: timedelta = MINUTE) -> Limit:
    return replace(limit, counts="user", ban=BanRule(after, within, MINUTE, MINUTE))


@pytest.mark.parametrize("limit", [window(2), gcra(2)], ids=["window", "gcra"])
async def test_a_shadow_never_refuses_and_tells_what_it_would_have_refused(store, limit):
    """It is charged where it has room, and neither its refusals nor its numbers are the caller's."""
    levels = (replace(limit, name="strict", is_shadow=True), gcra(5, name="wide"))
    outcome = await charge(store, checks(levels, *["anna", "anna"] * 6))
    assert list(outcome.allowed) == [True] * 5 + [False]
    assert list(outcome.level) == [1] * 6
    assert list(outcome.remaining) == [4, 3, 2, 1, 0, 0]
    assert list(outcome.flags) == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("limit", [window(2), gcra(2)], ids=["window", "gcra"])
async def test_a_shadow_alone_lets_all_pass(store, limit):
    """With nothing else that could refuse."""
    outcome = await charge(store, checks(replace(limit, is_shadow=True), *["anna"] * 4))
    assert (list(outcome.allowed), list(outcome.flags)) == ([True] * 4, [0, 0, 1, 1])


async def test_what_is_refused_costs_a_shadow_nothing(store):
    """All or none holds for shadows too."""
    levels = (gcra(1, name="strict"), replace(window(3), is_shadow=True))
    await charge(store, checks(levels, *["anna", "anna"] * 5))
    outcome = await charge(store, checks(window(3), "anna"))
    assert list(outcome.remaining) == [1]


@pytest.mark.parametrize("limit", [window(10), gcra(10)], ids=["window", "gcra"])
async def test_a_level_multiplies_the_cost(store, limit):
    """At one level a check costs three, at the other one."""
    levels = (replace(limit, name="dear", cost=3), gcra(10, name="cheap"))
    outcome = await charge(store, checks(levels, *["anna", "anna"] * 4))
    assert list(outcome.allowed) == [True, True, True, False]
    assert [outcome.standings[4 * check] for check in range(4)] == [7, 4, 1, 1]
    assert list((await charge(store, checks(gcra(10, name="cheap"), "anna"))).remaining) == [6]


@pytest.mark.parametrize("limit", [window(2), gcra(2)], ids=["window", "gcra"])
async def test_refusals_lead_to_a_ban(store, limit):
    """The third refusal within the time says so, and each one after it, until the ban is there; then none counts."""
    banning = _banning(limit)
    outcome = await charge(store, checks(banning, *["anna"] * 6, *["ben"] * 4))
    assert list(outcome.flags) == [0, 0, 0, 0, 2, 2, 0, 0, 0, 0]
    await store.quiet("default", limit.name, "anna", MINUTE)
    outcome = await charge(store, checks(banning, *["anna"] * 4, "ben"))
    assert (list(outcome.allowed), list(outcome.flags)) == ([False] * 5, [0, 0, 0, 0, 2])
    await store.forgive("default", limit.name, "anna")
    outcome = await charge(store, checks(banning, *["anna"] * 3))
    assert list(outcome.flags) == [0, 0, 2]


async def test_only_the_level_that_refuses_counts_a_refusal(store):
    """Whoever shares an address with one who is refused by name is not counted on."""
    levels = (replace(gcra(9, name="ip"), counts="ip", ban=BanRule(1, MINUTE, MINUTE, MINUTE)), _banning(gcra(1, name="user"), 2))
    outcome = await charge(store, checks(levels, *["192.0.2.7", "anna"] * 4, "192.0.2.7", "ben"))
    assert (list(outcome.allowed), list(outcome.flags)) == ([True, False, False, False, True], [0, 0, 8, 8, 0])


async def test_refusals_that_are_long_ago_count_no_more(under_test):
    """They are counted within a time that slides."""
    store, banning = under_test.store, _banning(window(1, MINUTE), 3, SHORT)
    assert list((await charge(store, checks(banning, *["anna"] * 3))).flags) == [0, 0, 0]
    await under_test.pass_time(SHORT * 1.5)
    assert list((await charge(store, checks(banning, *["anna"] * 3))).flags) == [0, 0, 2]


@pytest.mark.parametrize("text", ["1000000/second gcra", "1/day burst 36525", "2147483647/day gcra"])
async def test_what_can_be_written_can_be_counted(store, text):
    """The widest limits that are taken of an API key, or of a file."""
    limit = from_level(key_level(text).message, {}.__getitem__)
    first, second = [await charge(store, checks(limit, "anna")) for _ in range(2)]
    assert [*first.allowed, *second.allowed] == [True, True]
    assert second.remaining[0] in {limit.capacity - 2, limit.capacity - 1}
