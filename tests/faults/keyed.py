"""Customers who send each call with a key of its own, again and again until it is answered."""

import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import httpx
from stylobate.testing.platform import Platform

from tests.people import Person

ORDER = {"items": [{"sku": "tea", "quantity": 1}]}
_PATIENCE_S = 120.0
"""For one key: longer than anything that is killed takes to come back."""
_TRY_S = 15.0
_LATER = frozenset({409, 429, 503, 504})
"""Come again: with these nobody knows whether it happened, or it is still under way."""


@dataclass
class Told:
    """What one customer was answered."""

    person: Person
    chains: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By key."""
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    tries: int = 0
    replayed: int = 0
    met: Counter[str] = field(default_factory=Counter)
    """What else came back, to look at."""
    failure: str = ""


class KeyedTraffic:
    """Runs customers in threads until the block is left; then each finishes what it is at."""

    def __init__(self, platform: Platform, customers: int = 3) -> None:
        self.told = [Told(Person(platform.gateway, "keyed").register()) for _ in range(customers)]
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._shop, args=(one,)) for one in self.told]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait until every key is answered."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        """Return how many keys were answered so far."""
        return sum(len(one.chains) + len(one.orders) for one in self.told)

    def report(self) -> str:
        """Return the counts in a sentence."""
        met: Counter[str] = sum((one.met for one in self.told), Counter())
        tries, replayed = (sum(getattr(one, name) for one in self.told) for name in ("tries", "replayed"))
        failures = "".join(f"; FAILED: {one.failure}" for one in self.told if one.failure)
        return (
            f"{self.answered} keys answered after {tries} requests, {replayed} of the answers replayed; met {dict(met)}{failures}"
        )

    def check(self) -> None:
        """Hold what is there against what was told: an object for each key, and no other."""
        for one in self.told:
            assert not one.failure, one.failure
            one.person.login()
            orders, chains, links = (listed(one.person, name) for name in ("orders", "chains", "links"))
            assert sorted(orders) == sorted(order["id"] for order in one.orders.values()), self.report()
            assert sorted(chains) == sorted(chain["id"] for chain in one.chains.values()), self.report()
            for chain in one.chains.values():
                assert chains[chain["id"]]["links"] == chain["links"], chain
            assert sorted(links) == sorted(link for chain in one.chains.values() for link in chain["links"]), self.report()

    def _shop(self, told: Told) -> None:
        try:
            while not self._is_over.is_set():
                key = secrets.token_hex(16)
                told.chains[key] = self._until_answered(told, "/chains", {"nonce": key}, key)
                if len(told.orders) < len(told.chains) // 4:  # thirty orders a minute are allowed
                    told.orders[key] = self._until_answered(told, "/orders", ORDER, key)
        except Exception as error:  # noqa: BLE001  it fails the test
            told.failure = f"{type(error).__name__}: {error}"

    def _until_answered(self, told: Told, path: str, body: Any, key: str) -> dict[str, Any]:
        began = monotonic()
        while monotonic() - began < _PATIENCE_S:
            told.tries += 1
            try:
                answer = told.person.http.post(path, json=body, headers={"idempotency-key": key}, timeout=_TRY_S)
            except httpx.TransportError as error:
                told.met[type(error).__name__] += 1
                sleep(0.05)
                continue
            if answer.status_code == 200:
                told.replayed += "idempotency-replayed" in answer.headers
                return dict(answer.json())
            told.met[f"{answer.status_code} {answer.json()['code']}"] += 1
            assert answer.status_code in _LATER, answer.text
            sleep(min(float(answer.headers.get("retry-after", "0.1")), 2))
        raise AssertionError(f"not answered in {_PATIENCE_S:.0f} s: {key}")


def listed(person: Person, namespace: str, member: str = "data") -> dict[str, Any]:
    """Return the data of the person's objects by key, or another member of each."""
    found: dict[str, Any] = {}
    token = ""
    while True:
        page = person.http.get(
            f"/v1/state/{namespace}", params={"page_size": 500, "page_token": token} if token else {"page_size": 500}
        )
        assert page.status_code == 200, page.text
        found |= {item["key"]: item[member] for item in page.json()["items"]}
        token = page.json()["next_page_token"] or ""
        if not token:
            return found
