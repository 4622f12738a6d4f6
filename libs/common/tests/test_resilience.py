"""Backoff, waiting for what is not there yet, and the circuit breaker."""

import logging
from itertools import islice

import pytest
from stylobate.errors import UnavailableError
from stylobate.resilience import CircuitBreaker, Interruption, backoff, wait_for_dependency


def test_backoff_grows_to_its_maximum() -> None:
    """Without jitter the waits double up to the maximum and stay there."""
    assert list(islice(backoff(0.1, 2, 0.5, jitter=False), 5)) == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_jitter_stays_between_half_and_whole() -> None:
    """Jitter never waits longer than without it, nor less than half."""
    for wait, whole in zip(islice(backoff(1, 2, 8), 50), islice(backoff(1, 2, 8, jitter=False), 50), strict=True):
        assert whole / 2 <= wait <= whole


async def test_waits_until_the_dependency_answers() -> None:
    """Faults of the expected kind are tried again; the result of the first success is returned."""
    tries = 0

    async def attempt() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UnavailableError("not yet")
        return "there"

    assert await wait_for_dependency("a thing", attempt) == "there"
    assert tries == 3


async def test_another_fault_is_not_waited_for() -> None:
    """A wrong password is not a server that is still starting."""

    async def attempt() -> None:
        raise ValueError("wrong password")

    with pytest.raises(ValueError, match="wrong"):
        await wait_for_dependency("a thing", attempt)


def test_an_interruption_warns_once_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """At info when it begins, one warning after five seconds, and anew from the next one on."""
    now = 0.0
    interruption = Interruption("interrupted", clock=lambda: now)
    assert not interruption.over()
    with caplog.at_level(logging.INFO, "stylobate.app"):
        for now in (0.0, 1.0, 4.9):  # noqa: B007  the clock reads it
            interruption.note(feed="x")
        assert [record.levelname for record in caplog.records] == ["INFO"]
        assert not interruption.is_lasting
        for now in (5.0, 9.0, 60.0):  # noqa: B007
            interruption.note(feed="x")
        assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
        assert interruption.is_lasting
        assert interruption.over()
        interruption.note(feed="x")
        assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]


def test_breaker_opens_and_closes() -> None:
    """It opens after enough failures in a row, or when told so, and the first answer closes it."""
    breaker = CircuitBreaker("x", failures=3)
    breaker.failure()
    breaker.failure()
    assert not breaker.is_open
    breaker.failure()
    assert breaker.is_open
    breaker.success()
    assert not breaker.is_open
    breaker.trip()
    assert breaker.is_open
    breaker.success()
    assert not breaker.is_open


def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    """Only failures in a row count."""
    breaker = CircuitBreaker("x", failures=2)
    for _ in range(5):
        breaker.failure()
        breaker.success()
    assert not breaker.is_open
