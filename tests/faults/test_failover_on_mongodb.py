"""A platform on a set of three: its primary is stepped down and killed -9 while people order and log in."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Self

import httpx
import pytest
from stylobate.database.mongodb.address import database_of, named
from stylobate.launcher.embedded import EmbeddedServerError
from stylobate.testing.mongo_set import MongoSet
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import ROOT, SHOP
from tests.faults.cells import Cells
from tests.faults.conftest import BRISK
from tests.faults.keyed import listed
from tests.faults.traffic import UNHELD
from tests.people import PASSWORD, Person
from tests.watcher import StateWatcher
from tests.witness import MODULE, Witness

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

_PER_SECOND = 20
_CUSTOMERS = 50
"""Each orders less often than thirty times a minute."""
_BACK_WITHIN_S = 15.0
_WITHIN = timedelta(seconds=120)
"""For a machine that is busy with other things; how long nothing was acknowledged is measured by itself."""
_HELD = {f"STYLOBATE_RATELIMIT_EDGE_{name}": "6000/second" for name in ("IP", "USER")} | {
    "STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME": "15m"  # a watch ends with its token
}
_LATER = (429, 503, 504)


@dataclass
class Load:
    """Orders and logins at a bounded rate, in threads, until the block is left; what was answered, and when."""

    platform: Platform
    orders: set[str] = field(default_factory=set)
    """That were acknowledged."""
    logins: list[str] = field(default_factory=list)
    """Refresh tokens that were given."""
    done: dict[str, list[float]] = field(default_factory=lambda: {"order": [], "login": []})
    """When something of a kind was acknowledged."""
    met: Counter[str] = field(default_factory=Counter)
    """What else was answered."""
    wrong: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Make the accounts and begin."""
        self._is_over = threading.Event()
        self._people = [Person(self.platform.gateway, "customer").register() for _ in range(_CUSTOMERS)]
        self._pool = ThreadPoolExecutor(2 * _CUSTOMERS)
        for number, person in enumerate(self._people):
            for kind in self.done:
                self._pool.submit(self._keep_on, kind, person, number / _PER_SECOND)
        return self

    def __exit__(self, *_: object) -> None:
        """Let everyone finish what they are at."""
        self.stop()
        for person in self._people:
            person.http.close()

    def stop(self) -> None:
        """Do that before the block is left."""
        self._is_over.set()
        self._pool.shutdown()

    def goes_on(self, by: int = 10) -> None:
        """Wait until that many more orders, and that many more logins, were acknowledged."""
        before = {kind: len(times) for kind, times in self.done.items()}
        assert wait_until(lambda: all(len(times) >= before[kind] + by for kind, times in self.done.items()), _WITHIN), self.met

    def silence(self, since: float) -> float:
        """Return the longest time since then without an acknowledgement of one of the kinds, in seconds."""
        longest = 0.0
        for times in self.done.values():
            late = [since, *(time for time in times if time > since)]
            longest = max(longest, *(later - sooner for sooner, later in pairwise(late)))
        return longest

    def _keep_on(self, kind: str, person: Person, late_s: float) -> None:
        self._is_over.wait(late_s)
        with httpx.Client(base_url=self.platform.gateway, timeout=20) as http:
            while not self._is_over.wait(_CUSTOMERS / _PER_SECOND):
                try:
                    self._do(kind, person, http)
                except httpx.TransportError as error:
                    self.met[f"{kind}: {type(error).__name__}"] += 1
                except Exception as error:  # noqa: BLE001  it fails the test
                    self.wrong.append(f"{kind}: {type(error).__name__} {error}")
                    return

    def _do(self, kind: str, person: Person, http: httpx.Client) -> None:
        if kind == "order":
            wanted = {"items": [{"sku": "tea", "quantity": 1}]}
            headers = {"authorization": f"Bearer {person.token}"}
            answer = http.post("/v1/actions/shop.place_order", json=wanted, headers=headers)
        else:
            answer = http.post("/v1/auth/login", json={"email": person.email, "password": PASSWORD})
        if answer.is_success and kind == "order":
            self.orders.add(answer.json()["id"])
        elif answer.is_success:
            self.logins.append(answer.json()["refresh_token"])
        else:
            assert answer.status_code in _LATER, answer.text
            self.met[f"{kind}: {answer.status_code} {answer.json()['code']}"] += 1
            return
        self.done[kind].append(monotonic())


@pytest.fixture(scope="module")
def mongo_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoSet]:
    """Give a set; each test says after which time another primary is elected."""
    try:
        with MongoSet.run(tmp_path_factory.mktemp("set")) as running:
            yield running
    except EmbeddedServerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("election_s", [10, 5], ids=["MongoDB's own time", "half of it"])
@pytest.mark.parametrize("arguments", [(), ("--split", "--workers", "2")], ids=["one process", "split, two workers"])
def test_nothing_acknowledged_is_lost_with_the_primary(
    mongo_set: MongoSet, tmp_path: Path, arguments: tuple[str, ...], election_s: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Orders and logins of twenty a second each: no gap in the log, its epoch holds, a watcher hears of each once.

    A hook hears of each at least once: again of what it was about when the primary was gone that should have noted it.
    """
    witness = Witness(tmp_path / "witnessed.jsonl")
    mongo_set.elect_after(timedelta(seconds=election_s))
    url = named(mongo_set.url, f"shop{len(arguments)}of{election_s}")
    environ = witness.environ | UNHELD | BRISK | _HELD | {"STYLOBATE_DATABASE_URL": url}
    with (
        Platform.run(tmp_path / "app", *arguments, modules=[SHOP, MODULE], environ=environ) as platform,
        Person(platform.gateway, "admin") as admin,
    ):
        made = platform.command("users", "create", admin.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        watcher = StateWatcher(platform.gateway, dict(admin.login().http.headers), "/v1/state/orders/watch")
        epochs = _epochs(mongo_set, url)
        figures = []
        with watcher, Load(platform) as load:
            assert watcher.is_following.wait(60)
            load.goes_on()
            for is_killed in (False, True):
                began = monotonic()
                ended = _killed(mongo_set) if is_killed else mongo_set.step_down()
                load.goes_on()
                if is_killed:
                    mongo_set.start(ended)
                mongo_set.settle()
                if not is_killed:
                    mongo_set.let_stand(ended)  # else a single member is left to be elected at the kill, whatever it has read
                load.goes_on(30)
                figures.append(load.silence(began))
            load.stop()
            assert load.wrong == []
            there = listed(admin.login(), "orders", "version")
            assert load.orders <= there.keys(), f"lost: {load.orders - there.keys()}"
            assert wait_until(lambda: watcher.versions == there, _WITHIN), watcher.wrong
        assert (watcher.wrong, watcher.gaps) == ([], 0), watcher.ends
        assert witness.saw_all({(order, "") for order in there}, _WITHIN)
        heard = Counter(one["id"] for one in witness.seen())
        twice = [event for event, count in heard.items() if count > 1]
        assert _epochs(mongo_set, url) == epochs
        numbered = _check_numbers(mongo_set, url)
        for token in load.logins[-50:]:
            answer = httpx.post(f"{platform.gateway}/v1/auth/refresh", json={"refresh_token": token}, timeout=60)
            assert answer.status_code == 200, answer.text
    with capsys.disabled():
        print(  # noqa: T201  the figures
            f"\n{arguments}, elected after {election_s} s: "
            f"no answer for {figures[0]:.1f} s (stepped down), {figures[1]:.1f} s (killed -9); "
            f"{len(load.orders)} orders and {len(load.logins)} logins acknowledged, 0 lost; {dict(load.met)}; "
            f"{numbered} events without a gap; watcher: {watcher.changes} changes over {watcher.connections} connections; "
            f"hook: {len(heard)} events, {len(twice)} twice"
        )
    assert max(figures) < _BACK_WITHIN_S


def test_one_order_explains_all_answers(mongo_set: MongoSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight clients on three objects, while primaries are stepped down and killed in turns."""
    url = named(mongo_set.url, "cells")
    environ = _HELD | {"STYLOBATE_STATE_DATABASE_URL": url}
    folder, cells_module = tmp_path / "cells", ROOT / "tests" / "modules" / "cells"
    with Platform.run(folder, "--split", modules=[cells_module], environ=environ) as platform:
        with Cells(platform, clients=8) as cells:
            for is_killed in (True, False) * 3:
                goal = len(cells) + 60
                ended = _killed(mongo_set) if is_killed else mongo_set.step_down()
                assert wait_until(lambda goal=goal: len(cells) >= goal, _WITHIN), cells.met
                if is_killed:
                    mongo_set.start(ended)
                mongo_set.settle()
        said = cells.check()
    with capsys.disabled():
        print(f"\n6 primaries; {said}; violations: 0")  # noqa: T201  the figures


def _killed(mongo_set: MongoSet) -> str:
    primary = mongo_set.primary()
    mongo_set.kill(primary)
    return primary


def _epochs(mongo_set: MongoSet, url: str) -> dict[str, list[str]]:
    """Return the epochs of each service's log."""
    with mongo_set.ask(mongo_set.primary()) as client:
        return {
            service: [one["epoch"] for one in client[database_of(url, service)]["outbox_epoch"].find({}, sort=[("_id", 1)])]
            for service in ("auth", "state")
        }


def _check_numbers(mongo_set: MongoSet, url: str) -> int:
    """Hold each log's numbers against its ends: from one on, none is missing and none is there twice; return how many."""
    count = 0
    with mongo_set.ask(mongo_set.primary()) as client:
        for service in ("auth", "state", "ratelimit"):
            database = client[database_of(url, service)]
            (head,) = database["outbox_head"].find({})
            assert database["outbox_event"].count_documents({"waiting": True}) == 0
            for partition, end in enumerate(head["numbers"]):
                events = database["outbox_event"].find({"partition": partition}, {"number": 1}, sort=[("number", 1)])
                numbers = [one["number"] for one in events]
                assert numbers == list(range(head["pruned"][partition] + 1, end + 1)), (service, partition)
                count += len(numbers)
    return count
