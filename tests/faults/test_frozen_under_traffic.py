"""Each process of a split platform is frozen in turn while customers order: they are told in time, nothing is lost or doubled."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import SHOP
from tests.faults.conftest import CheckNothingLost
from tests.faults.traffic import UNHELD, Traffic
from tests.people import Person
from tests.witness import MODULE, Witness

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PARTS = ("ratelimit", "auth", "state", "actions", "realtime", "gateway", "valkey", "postgres")
DEADLINE_S = 30
"""Of a request, after which it is answered whatever happens."""
FROZEN = timedelta(seconds=12)
"""Longer than pings, leases and statements take to be given up."""
BACK_WITHIN = timedelta(seconds=60)
REFUSALS = {503, 504}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a platform with a process per service that lets many log in."""
    folder = tmp_path_factory.mktemp("frozen")
    witness = Witness(folder / "witnessed.jsonl")
    with Platform.run(folder, "--split", modules=[SHOP, MODULE], environ=witness.environ | UNHELD) as running:
        yield running


@contextmanager
def frozen(platform: Platform, name: str) -> Iterator[None]:
    """Freeze a part with all its processes for as long as the block."""
    root = psutil.Process(platform.children[name].pid)
    family = [root, *root.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in family:
            process.send_signal(signal.SIGCONT)


class Callers:
    """People who go on reading and ordering, one request after the other, and note each answer."""

    def __init__(self, people: list[Person]) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.hung: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(person,)) for person in people]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let everyone hear their last answer."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, person: Person) -> None:
        order = person.order()
        calls = (
            ("GET", f"/v1/state/orders/{order}", None),
            ("GET", "/v1/auth/me", None),
            ("GET", f"/v1/state/orders/{order}/history", None),
            ("POST", "/v1/actions/shop.place_order", {"items": [{"sku": "tea", "quantity": 1}]}),
            ("GET", "/v1/actions", None),
        )
        while not self._is_over.is_set():
            for method, path, body in calls:
                try:
                    answer = person.http.request(method, path, json=body)
                except httpx.TimeoutException:
                    self.hung.append(f"{method} {path}")
                    continue
                code = "" if answer.is_success else answer.json()["code"]
                self.answers[answer.status_code, code] += 1
                if self._is_over.wait(0.1):
                    return


@pytest.mark.soak
@pytest.mark.parametrize("victim", PARTS)
def test_callers_are_told_and_nothing_is_lost(platform: Platform, check_nothing_lost: CheckNothingLost, victim: str) -> None:
    """While a part is frozen every request is answered before its deadline, with 503 or 504 and a code where not with success.

    When it thaws all is as before, by itself; what was acknowledged is there once, in the history and at the hook.
    """
    with ExitStack() as stack:
        people = [stack.enter_context(Person(platform.gateway)) for _ in range(3)]
        for person in people:
            person.register()
            person.http.timeout = httpx.Timeout(DEADLINE_S + FROZEN.total_seconds() + 5)
        with Traffic(platform) as traffic, Callers(people) as callers:
            assert wait_until(lambda: len(traffic.acknowledged) >= 6, BACK_WITHIN), traffic.acknowledged.failures
            with frozen(platform, victim):
                threading.Event().wait(FROZEN.total_seconds())
            platform.wait_healthy(BACK_WITHIN)
            before = len(traffic.acknowledged)
            assert wait_until(lambda: len(traffic.acknowledged) >= before + 6, BACK_WITHIN), traffic.acknowledged.failures
    print(victim, dict(callers.answers), dict(traffic.acknowledged.failures))  # noqa: T201  the figures
    assert not callers.hung
    assert {status for status, code in callers.answers if code} <= REFUSALS | {429}, callers.answers
    check_nothing_lost(traffic.acknowledged)
    check_once(platform)


def check_once(platform: Platform) -> None:
    """Check that each version of an order was written once: a hook may hear of it again, by the same id."""
    ids: dict[tuple[str, int], set[str]] = {}
    for entry in Witness(Path(platform.project.folder) / "witnessed.jsonl").seen():
        ids.setdefault((entry["subject"], entry["version"]), set()).add(entry["id"])
    assert ids
    assert {key: found for key, found in ids.items() if len(found) > 1} == {}
