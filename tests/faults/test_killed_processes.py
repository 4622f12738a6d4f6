"""`kill -9` of each process of a split platform while customers order: it recovers by itself and loses nothing."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic

import httpx
import pytest
from stylobate.launcher.demo import Journey, StepFailedError
from stylobate.services import installed_services
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.faults.keyed import ORDER, KeyedTraffic, listed
from tests.faults.listener import Listener
from tests.faults.traffic import Traffic, play
from tests.people import Person
from tests.watcher import StateWatcher

# a demo that is cut off leaves more than a socket of the SDK to the collector; that is the SDK's business
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SERVICES = tuple(installed_services())
SERVERS = ("valkey", "postgres", "mongodb")
"""Of which a platform runs two."""
RECOVERED_WITHIN = timedelta(seconds=60)
STARTED_WITHIN = timedelta(seconds=60)
"""How long a busy machine may take to start a process; not what is tested here."""


def _all_of(platform: Platform) -> list[str]:
    """Return every process that is to be killed."""
    return [name for name in (*SERVICES, *SERVERS) if name in platform.children]


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


def _check_followed(watcher: StateWatcher, admin: Person) -> None:
    """Hold what a watcher of all orders heard against what is there: each version once, in order, up to the last."""
    assert wait_until(lambda: watcher.versions == listed(admin, "orders", "version"), STARTED_WITHIN), watcher.wrong
    assert (watcher.wrong, watcher.gaps) == ([], 0), watcher.ends


async def test_platform_recovers_from_each_killed_process(platform, admin, check_nothing_lost):
    """The supervisor starts each again, customers are served, a demo begun thereafter passes, nothing is lost.

    Who watches all orders meanwhile hears of every change, each once and in the order of its object.
    """
    watcher = StateWatcher(platform.gateway, dict(admin.http.headers), "/v1/state/orders/watch")
    with watcher, Traffic(platform) as traffic:
        assert watcher.is_following.wait(60)
        for victim in _all_of(platform):
            assert _grows(traffic, 10, timedelta(seconds=60)), f"{victim}: {traffic.acknowledged.failures}"
            killed = monotonic()
            _kill(platform, victim)
            platform.wait_healthy(STARTED_WITHIN)
            assert _grows(traffic, 10, STARTED_WITHIN), f"{victim}: {traffic.acknowledged.failures}"
        journey = await _play_recovered(platform, killed)
        traffic.stop()
        _check_followed(watcher, admin.login())
    print(f"watched: {watcher.changes} changes over {watcher.connections} connections, ended by {watcher.ends}")  # noqa: T201
    traffic.acknowledged.events |= {(order, "") for order in journey.acknowledged.orders}
    traffic.acknowledged.events |= set(journey.acknowledged.events)
    check_nothing_lost(traffic.acknowledged)


def _keep_killing(platform: Platform, rounds: int, traffic: KeyedTraffic) -> None:
    """Kill what a keyed call passes, one after the other, each time as soon as keys are answered again."""
    for victim in ("gateway", "actions", "state", "actions", "realtime", "state") * rounds:
        goal = traffic.answered + 3
        assert wait_until(lambda goal=goal: traffic.answered >= goal, STARTED_WITHIN), traffic.report()
        _kill(platform, victim)


def _check_heard(listener: Listener, traffic: KeyedTraffic) -> None:
    """Hold what was heard against what is there: each chain once, save those that passed while nobody was connected."""
    assert set(listener.heard.values()) == {1}, listener.heard.most_common(3)
    chains = {json.dumps(chain["id"]) for told in traffic.told for chain in told.chains.values()}
    assert listener.heard.keys() <= chains
    assert len(listener.heard) > len(chains) // 2, f"{len(listener.heard)} of {len(chains)}"


def test_a_key_is_one_change_whoever_is_killed(platform):
    """While processes die under it each call is sent until answered: an object for each key, none half, none announced twice."""
    with Listener(platform, "chains:all") as listener:
        assert listener.is_listening.wait(60)
        with KeyedTraffic(platform) as traffic:
            _keep_killing(platform, 1, traffic)
        traffic.check()
    _check_heard(listener, traffic)


def test_thirty_orders_with_one_key_are_one(platform, person):
    """All thirty are answered alike, and one order is there."""
    customer = person()

    def order(_: int) -> httpx.Response:
        return customer.http.post("/orders", json=ORDER, headers={"idempotency-key": "all-the-same"})

    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(order, range(30)))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 29
    assert list(listed(customer, "orders")) == [answers[0].json()["id"]]


@pytest.mark.soak
def test_a_key_is_one_change_for_long(platform, capsys):
    """The same, round after round; prints what was counted."""
    with Listener(platform, "chains:all") as listener:
        assert listener.is_listening.wait(60)
        with KeyedTraffic(platform, customers=4) as traffic:
            _keep_killing(platform, 12, traffic)
        traffic.check()
    _check_heard(listener, traffic)
    with capsys.disabled():
        heard = f"of {len(listener.heard)} word was heard, of none twice"
        print(f"\n72 kills; {traffic.report()}; an object for each key, and no other; {heard}")  # noqa: T201  the figures


@pytest.mark.soak
@pytest.mark.parametrize("round_number", range(10))
async def test_demos_pass_ten_seconds_after_each_kill(platform, check_nothing_lost, round_number):
    """Round after round every process dies once while demos run; each demo begun 10 s after a kill passes."""
    for victim in _all_of(platform):
        with Traffic(platform, customers=3) as traffic:
            assert _grows(traffic, 10, timedelta(seconds=60)), traffic.acknowledged.failures
            killed = monotonic()
            _kill(platform, victim)
            assert wait_until(lambda since=killed: monotonic() - since >= 10, timedelta(seconds=11))
            await play(platform)
        check_nothing_lost(traffic.acknowledged)
