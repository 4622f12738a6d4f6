"""`kill -9` of each process of a split platform while customers order: it recovers by itself and loses nothing."""

from datetime import timedelta
from time import monotonic

import pytest
from stylobate.launcher.demo import Journey, StepFailedError
from stylobate.services import installed_services
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.faults.traffic import Traffic, play

# a demo that is cut off leaves more than a socket of the SDK to the collector; that is the SDK's business
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SERVICES = tuple(installed_services())
SERVERS = ("valkey", "postgres")
RECOVERED_WITHIN = timedelta(seconds=60)
STARTED_WITHIN = timedelta(seconds=60)
"""How long a busy machine may take to start a process; not what is tested here."""


def _kill(platform: Platform, name: str) -> None:
    """Kill the process and wait until another one of its name runs."""
    killed = platform.kill(name)

    def is_back() -> bool:
        child = platform.children.get(name)
        return child is not None and child.pid != killed.pid and child.is_running

    assert wait_until(is_back, STARTED_WITHIN), platform.failure(f"{name} was not started again")


def _grows(traffic: Traffic, by: int, within: timedelta) -> bool:
    goal = len(traffic.acknowledged) + by
    return wait_until(lambda: len(traffic.acknowledged) >= goal, within)


async def _play_recovered(platform: Platform, killed: float) -> Journey:
    """Play demos until one passes. One begun within a minute of the kill may still feel it; a later one must pass."""
    while True:
        is_late = monotonic() - killed >= RECOVERED_WITHIN.total_seconds()
        try:
            return await play(platform)
        except StepFailedError:
            if is_late:
                raise


@pytest.mark.parametrize("victim", [*SERVICES, *SERVERS])
async def test_platform_recovers_from_a_killed_process(platform, check_nothing_lost, victim):
    """The supervisor starts it again, customers are served, a demo begun thereafter passes, nothing is lost."""
    with Traffic(platform) as traffic:
        assert _grows(traffic, 10, timedelta(seconds=60)), traffic.acknowledged.failures
        killed = monotonic()
        _kill(platform, victim)
        platform.wait_healthy(STARTED_WITHIN)
        assert _grows(traffic, 10, STARTED_WITHIN), traffic.acknowledged.failures
        journey = await _play_recovered(platform, killed)
    traffic.acknowledged.events |= {(order, "") for order in journey.acknowledged.orders}
    traffic.acknowledged.events |= set(journey.acknowledged.events)
    check_nothing_lost(traffic.acknowledged)


@pytest.mark.soak
@pytest.mark.parametrize("round_number", range(10))
async def test_demos_pass_ten_seconds_after_each_kill(platform, check_nothing_lost, round_number):
    """Round after round every process dies once while demos run; each demo begun 10 s after a kill passes."""
    for victim in (*SERVICES, *SERVERS):
        with Traffic(platform, customers=3) as traffic:
            assert _grows(traffic, 10, timedelta(seconds=60)), traffic.acknowledged.failures
            killed = monotonic()
            _kill(platform, victim)
            assert wait_until(lambda since=killed: monotonic() - since >= 10, timedelta(seconds=11))
            await play(platform)
        check_nothing_lost(traffic.acknowledged)
