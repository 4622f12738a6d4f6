"""A projection while every process and the database are killed, and while it is rebuilt: each event counts once."""

import random
import threading
from collections import Counter
from datetime import timedelta

import httpx
import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import ROOT
from tests.faults.traffic import UNHELD
from tests.people import Person

TALLY = ROOT / "tests" / "modules" / "tally"
WITHIN = timedelta(seconds=60)
UNCOUNTED = {f"STYLOBATE_RATELIMIT_EDGE_{name}": "60000/second" for name in ("IP", "USER")}
ACCOUNTS, KEYS = ("acme", "zeta", "emca"), 24


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """Give two processes of each service."""
    folder = tmp_path_factory.mktemp("projections")
    with Platform.run(folder, "--split", "--workers", "2", modules=[TALLY], environ=UNHELD | UNCOUNTED) as running:
        yield running


class Clerk(threading.Thread):
    """Enters, changes and removes entries until told to stop; does not mind what fails."""

    def __init__(self, gateway: str, token: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=gateway, timeout=5, headers={"authorization": f"Bearer {token}"})
        self._random = random.Random(seed)
        self.stopped = threading.Event()
        self.done = 0

    def run(self) -> None:
        """Work."""
        while not self.stopped.is_set():
            key, pick = self._random.randrange(KEYS), self._random.random()
            path = f"/v1/state/entries/{key}"
            data = {"account": ACCOUNTS[key % len(ACCOUNTS)], "amount": self._random.randrange(100)}
            try:
                answer = self._http.delete(path) if pick < 0.1 else self._http.put(path, json={"data": data})
                self.done += answer.is_success
            except httpx.HTTPError:
                self.stopped.wait(0.05)


def pages(person: Person, path: str) -> list[dict]:
    """Return every item of a list."""
    items, token = [], ""
    while True:
        answer = person.http.get(path, params={"page_size": 500, "page_token": token} if token else {"page_size": 500})
        assert answer.status_code in {200, 404}, answer.text
        items += answer.json().get("items", [])
        if not (token := answer.json().get("next_page_token")):
            return items


def truth(person: Person) -> dict[str, dict]:
    """Return what the histories of all entries come to."""
    changes, entries = Counter[str](), dict[str, dict[str, int]]()
    for key in range(KEYS):
        account = ACCOUNTS[key % len(ACCOUNTS)]
        history = pages(person, f"/v1/state/entries/{key}/history")
        changes[account] += len(history)
        if history and history[0]["change"] != "deleted":
            entries.setdefault(account, {})[str(key)] = history[0]["data"]["amount"]
    return {
        account: {"sum": sum(found.values()), "changes": changes[account], "entries": found}
        for account, found in ((account, entries.get(account, {})) for account in ACCOUNTS)
        if changes[account]
    }


def made(person: Person) -> dict[str, dict]:
    """Return what the projection says."""
    return {one["key"]: one["data"] for one in pages(person, "/v1/state/balances") if not one["key"].startswith("of-")}


def test_each_event_counts_once_whoever_is_killed(platform, capsys):
    """The processes that run the method, those that keep its objects, the database; and it is rebuilt twice meanwhile."""
    with Person(platform.gateway) as ada:
        ada.register()
        clerks = [Clerk(platform.gateway, ada.token, seed) for seed in range(3)]
        for clerk in clerks:
            clerk.start()
        try:
            for victim in ("rebuild", "state-0", "actions-0", "rebuild", "postgres", "actions-1", "actions-0", "state-1"):
                before = sum(clerk.done for clerk in clerks)
                if victim == "rebuild":
                    assert platform.command("projections", "rebuild", "balances").returncode == 0
                else:
                    platform.kill(victim)
                    platform.wait_healthy(WITHIN)
                assert wait_until(lambda before=before: sum(clerk.done for clerk in clerks) > before + 60, WITHIN), victim
        finally:
            for clerk in clerks:
                clerk.stopped.set()
            for clerk in clerks:
                clerk.join()
        expected = truth(ada)
        assert wait_until(lambda: made(ada) == expected, WITHIN), (made(ada), expected, platform.failure("not the same"))
        is_whole = lambda: platform.command("projections", "list").stdout.rstrip().endswith("runs")  # noqa: E731
        assert wait_until(is_whole, WITHIN), platform.failure("the rebuilding does not end")
        assert made(ada) == expected
    with capsys.disabled():
        counted = sum(one["changes"] for one in expected.values())
        print(f"\n{counted} events of {sum(clerk.done for clerk in clerks)} answered changes, each counted once")  # noqa: T201


def test_an_event_that_the_method_refuses_stands_and_is_said(platform):
    """Nothing is passed over: what comes behind it waits, what lies elsewhere goes on, and operators hear which it is."""
    with Person(platform.gateway) as ada:
        ada.register()
        for key, account, amount in (("bad", "first", -1), ("bad", "first", 5), ("fine", "second", 7)):
            answer = ada.http.put(f"/v1/state/entries/{key}", json={"data": {"account": account, "amount": amount}})
            assert answer.is_success, answer.text
        assert wait_until(lambda: made(ada).get("second", {}).get("sum") == 7, WITHIN), platform.failure("nothing goes on")
        said = "balances stands at state.entries.created"
        assert wait_until(lambda: said in platform.command("status").stdout, WITHIN), platform.command("status").stdout
        said = "of bad: ValueError: an entry is not negative"
        assert wait_until(lambda: platform.command("projections", "list").stdout.rstrip().endswith(said), WITHIN)
        assert "first" not in made(ada)
