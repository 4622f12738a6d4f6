"""A login is always possible: what limits slow down, and whom they never keep out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.clients.limit_rules import LimitRules
from stylobate.errors import DeadlineExceededError, InternalError, StylobateError, UnavailableError
from stylobate_auth.errors import InvalidCredentialsError
from stylobate_auth.login_limits import LoginLimits
from stylobate_auth.model import AccountDraft
from stylobate_auth.settings import AuthSettings

from .conftest import PASSWORD, NoLimits, build

HOME, OFFICE = "198.51.100.1", "198.51.100.2"


async def _try(auth: Any, address: str, password: str = "guess", email: str = "ada@example.com") -> str:
    """Log in from the address; return the reason of the refusal, or "in"."""
    try:
        await auth.accounts.login(email, password, replace(auth.origin, client_address=address))
    except (InvalidCredentialsError, RateLimitedError) as error:
        return error.reason
    return "in"


def _counted(auth: Any) -> list[str]:
    """Return a list that grows with every password that is hashed."""
    run, hashed = auth.hasher._queue.run, []
    auth.hasher._queue.run = lambda work, **how: (hashed.append(how["share"]), run(work, **how))[1]
    return hashed


async def test_guessing_from_many_addresses_is_slowed_to_the_declared_rate(auth: Any, clock: Any) -> None:
    """200 addresses that guess one account for six minutes get no more tries than the rule says, and the owner gets in.

    From where they were before at any moment; once each of the 200 has had its first tries, from anywhere else too.
    """
    await auth.register()
    assert await _try(auth, HOME, PASSWORD) == "in"
    hashed = _counted(auth)
    owners = 0
    for minute in range(6):
        for second in (0, 1, 2, 15, 30, 45):
            for address in range(200):
                await _try(auth, f"203.0.113.{address}")
            assert await _try(auth, HOME, PASSWORD) == "in"
            owners += 1
            if second == 30:
                assert await _try(auth, f"192.0.2.{minute}", PASSWORD) == "in"
                owners += 1
            clock.advance(timedelta(seconds=1 if second < 2 else 13 if second == 2 else 15))
    guesses = len(hashed) - owners
    assert 5 * 5 <= guesses <= 20 + 10 * 6  # login.account: 10/minute burst 20; slowed, not shut


async def test_nobody_locks_an_account(auth: Any, clock: Any) -> None:
    """However long and from wherever it was attacked, the account is open again as soon as the rate allows."""
    await auth.register()
    for address in range(250):
        for _ in range(4):
            await _try(auth, f"203.0.113.{address}")
    assert await _try(auth, "203.0.113.1", PASSWORD) == "RATE_LIMITED"
    clock.advance(timedelta(seconds=12))  # half the rate of 10 a minute is what a place that was too eager has
    assert await _try(auth, "203.0.113.1", PASSWORD) == "in"


async def test_a_place_that_got_in_is_remembered(auth: Any, clock: Any) -> None:
    """An address that logged in before is counted by itself, for as long as the setting says; so are those of its /64."""
    await auth.register()
    assert await _try(auth, "2001:db8:1:2::1", PASSWORD) == "in"
    clock.advance(timedelta(days=89))
    for address in range(100):
        await _try(auth, f"203.0.113.{address}")
    assert await _try(auth, "203.0.113.1") == "RATE_LIMITED"
    assert await _try(auth, "2001:db8:1:2:ffff::9", PASSWORD) == "in"
    for _ in range(100):
        await _try(auth, "2001:db8:1:2::1")
    assert await _try(auth, "2001:db8:1:2::1", PASSWORD) == "RATE_LIMITED"  # guessing from a known place is slowed too
    clock.advance(timedelta(minutes=1))
    assert await _try(auth, HOME, PASSWORD) == "in"
    clock.advance(timedelta(days=91))
    await auth.store.prune(clock())
    assert not (await auth.store.credentials("default", "ada@example.com", HOME, clock())).is_known_place


async def test_an_account_that_is_not_there_looks_the_same(auth: Any) -> None:
    """Limits tell nobody which addresses have accounts: the same tries are refused, in the same words."""
    await auth.register()

    async def refusals(email: str) -> list[Any]:
        told: list[Any] = []
        for number in range(60):
            try:
                await auth.accounts.login(email, "guess", replace(auth.origin, client_address=f"203.0.113.{number % 20}"))
            except RateLimitedError as error:
                told.append((number, error.detail, error.metadata, error.retry_after))
            except InvalidCredentialsError:
                pass
        return told

    there, nowhere = await refusals("ada@example.com"), await refusals("nobody@example.com")
    assert there == nowhere
    assert there


async def test_what_is_counted_names_nobody(auth: Any) -> None:
    """The names of counters hold no address of an account."""
    await auth.register()
    await _try(auth, HOME)
    subjects = [subject for _, _, subject in auth.limits._local._times]
    assert any(HOME in subject for subject in subjects)
    assert not any("ada" in subject for subject in subjects)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "login.ip": lambda auth, origin: auth.accounts.login("nobody@example.com", "x", origin),
    "login.ip, no address": lambda auth, origin: auth.accounts.login("junk", "x", origin),
    "register.ip": lambda auth, origin: auth.accounts.register(AccountDraft("junk", "x"), origin),
    "refresh.ip": lambda auth, origin: auth.refreshes.refresh("default", "made up", origin),
}


@pytest.mark.parametrize("name", CALLS)
async def test_an_address_is_charged_before_anything_costs(clock: Any, hasher: Any, name: str) -> None:
    """Each rule refuses the call after its last one, hashing nothing; another address goes on; the next /64 too."""
    rule = name.partition(",")[0]
    auth = build(clock, hasher, **{rule.replace(".", "_"): "3/hour"})
    call = CALLS[name]

    async def refused(address: str) -> bool:
        with pytest.raises(StylobateError) as raised:
            await call(auth, replace(auth.origin, client_address=address))
        error = raised.value
        if isinstance(error, RateLimitedError):
            assert (error.metadata["policy"], error.metadata["quota"]) == (rule, "3")
            assert error.retry_after == timedelta(seconds=1200)
        return isinstance(error, RateLimitedError)

    async with auth.refreshes:
        for address in (HOME, OFFICE, "2001:db8::1"):
            assert [await refused(address) for _ in range(5)] == [False, False, False, True, True]
        hashed = _counted(auth)
        assert await refused(HOME)
        assert await refused("2001:db8::2")
        assert not hashed
        assert not await refused("2001:db8:0:1::1")


async def test_a_place_that_nobody_told_is_not_charged(clock: Any, hasher: Any) -> None:
    """A gateway of the release before does not say where clients are: they do not share one limit."""
    auth = build(clock, hasher, login_ip="1/hour", register_ip="1/hour", refresh_ip="1/hour")
    for number in range(5):
        assert await _try(auth, "", email=f"user-{number}@example.com") == "AUTH_INVALID_CREDENTIALS"


class _Limits:
    """A ratelimit service that answers as told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    async def check(self, levels: Any, subjects: Any) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        UnavailableError(),
        DeadlineExceededError(),
        InternalError(),
        SimpleNamespace(is_banned=False, allowed=True, degraded=True, retry_after=None),
    ],
    ids=["away", "hangs", "broken", "counts nothing while Redis is away"],
)
async def test_limits_hold_while_nobody_counts(clock: Any, hasher: Any, answer: Any) -> None:
    """Without the ratelimit service this process counts: nothing passes uncounted."""
    auth = build(clock, hasher, login_ip="3/hour")
    auth.limits._limits = _Limits(answer)
    assert [await _try(auth, HOME, email="nobody@example.com") for _ in range(5)] == [
        *["AUTH_INVALID_CREDENTIALS"] * 3,
        *["RATE_LIMITED"] * 2,
    ]
    assert auth.limits._limits.asked >= 5


async def test_what_the_ratelimit_service_says_holds(auth: Any) -> None:
    """Its refusal is the answer, with its time to retry."""
    auth.limits._limits = _Limits(
        SimpleNamespace(is_banned=False, allowed=False, degraded=False, retry_after=timedelta(seconds=7))
    )
    with pytest.raises(RateLimitedError) as refused:
        await auth.login()
    assert refused.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("text", ["", "many", "0/minute", "10/minute burst 0", "10/fortnight", "10 gcra/minute"])
@pytest.mark.parametrize("name", ["login_ip", "login_account", "register_ip", "refresh_ip"])
def test_a_limit_that_is_none_stops_the_start(name: str, text: str) -> None:
    """Each setting is read as limits are declared everywhere."""
    with pytest.raises(ValueError, match=name):
        AuthSettings(**{name: text})


async def test_a_file_says_the_rules_anew(clock: Any, tmp_path: Any) -> None:
    """Its numbers hold instead of the settings', for addresses and for accounts, and change with it."""
    file = tmp_path / "limits.yaml"
    file.write_text("limits:\n  login.ip: { limit: 2/hour }\n  login.account: { limit: 1/hour }\n")
    rules = LimitRules(platform=file)
    limits = LoginLimits(NoLimits(), AuthSettings(), b"key", clock=clock.seconds, rules=rules)
    await limits.charge_place("login.ip", HOME)
    await limits.charge_place("login.ip", HOME)
    with pytest.raises(RateLimitedError) as caught:
        await limits.charge_place("login.ip", HOME)
    assert caught.value.metadata["quota"] == "2"
    await limits.charge_account("default", "ada", HOME, is_known=True)
    with pytest.raises(RateLimitedError):
        await limits.charge_account("default", "ada", HOME, is_known=True)
    file.write_text("limits:\n  login.account: { limit: 5/hour }\n")
    rules.reload()
    with pytest.raises(RateLimitedError) as caught:
        await limits.charge_place("login.ip", HOME)
    assert caught.value.retry_after == timedelta(seconds=1)  # no longer an hour
    clock.advance(timedelta(seconds=1))
    await limits.charge_place("login.ip", HOME)
    await limits.charge_account("default", "ben", HOME, is_known=True)
    await limits.charge_account("default", "ben", HOME, is_known=True)
