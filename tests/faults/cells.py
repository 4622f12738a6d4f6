"""Clients who read and change a few objects at once, singly and in transactions, and write down what they were told."""

import random
import threading
from collections import Counter
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import httpx
from stylobate.testing.platform import Platform

from tests.faults.serial import Operation, Outcome, check
from tests.people import Person

KEYS = ("a", "b", "c")
_TRY_S = 15.0
_PATH = "/v1/state/cells/"


class Cells:
    """Runs clients in threads until the block is left."""

    def __init__(self, platform: Platform, clients: int = 4) -> None:
        self._platform = platform
        self._people = [Person(platform.gateway, "cell").register() for _ in range(clients)]
        self._done: list[Operation] = []
        self.met: Counter[str] = Counter()
        """What was answered, by operation."""
        self._failures: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        """Make the objects and begin."""
        everybody = _Client(self, self._people[0], "0")
        for key in KEYS:
            everybody.put(key)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let everyone finish what they are at."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        for person in self._people:
            person.http.close()

    def __len__(self) -> int:
        """Return how many operations are done."""
        return len([operation for operation in tuple(self._done) if operation.outcome is Outcome.DONE])

    def note(self, operation: Operation) -> None:
        """Keep what a client did."""
        self._done.append(operation)

    def check(self) -> str:
        """Hold what clients were told against what there is; return the counts in a sentence."""
        assert not self._failures, self._failures
        with Person(self._platform.gateway, "reader").register() as person:
            histories = {key: _history(person, key) for key in KEYS}
            for key, marks in histories.items():
                there = person.http.get(_PATH + key).json()
                assert (there["version"], there["data"]["by"]) == (len(marks), marks[-1])
        check(self._done, histories)
        unknown = len([operation for operation in self._done if operation.ended == float("inf") and operation.writes])
        return f"{len(self._done)} operations, {len(self)} of them done, {unknown} of these without an answer; {dict(self.met)}"

    def _work(self, number: int) -> None:
        client = _Client(self, self._people[number], f"{number + 1}")
        try:
            while not self._is_over.is_set():
                client.do_something()
        except Exception as error:  # noqa: BLE001  it fails the test
            self._failures.append(f"{type(error).__name__}: {error}")


class _Client:
    def __init__(self, cells: Cells, person: Person, name: str) -> None:
        self._cells = cells
        self._http = person.http
        self._name = name
        self._count = 0
        self._random = random.Random(name)
        self._seen = dict.fromkeys(KEYS, 1)

    def do_something(self) -> None:
        """Do one thing to one or some of the objects."""
        what = self._random.choice((self.get, self.get, self.put, self.put_if, self.turn, self.transact))
        what(self._random.choice(KEYS))

    def get(self, key: str) -> None:
        """Read one."""
        self._do("get", [key], "GET", key)

    def put(self, key: str) -> None:
        """Write one, whatever stands there."""
        self._do("put", [key], "PUT", key)

    def put_if(self, key: str) -> None:
        """Write one that stands as this client saw it last."""
        self._do("put if", [key], "PUT", key, headers={"if-match": f'"{self._seen[key]}"'})

    def turn(self, key: str) -> None:
        """Move one."""
        self._do("turn", [key], "POST", f"{key}/transitions/{self._random.choice(('turn', 'back'))}")

    def transact(self, _: str) -> None:
        """Change two or all of them together, some as they were seen last, in any order."""
        keys = self._random.sample(KEYS, self._random.choice((2, len(KEYS))))
        operations: list[dict[str, Any]] = []
        for key in keys:
            operation: dict[str, Any] = {"op": self._random.choice(("put", "put", "patch")), "namespace": "cells", "key": key}
            if self._random.random() < 0.3:
                operation["if_version"] = self._seen[key]
            operations.append(operation)
        self._do("transaction", keys, "POST", "", operations)

    def _do(
        self, what: str, keys: list[str], method: str, path: str, several: list[dict[str, Any]] | None = None, **more: Any
    ) -> None:
        self._count += 1
        mark = f"{self._name}.{self._count}"
        operation = Operation(mark, keys, monotonic())
        data = {"by": mark}
        if several is not None:
            path, body = "/v1/state/transactions", {"operations": [{**one, "data": data} for one in several]}
        else:
            path, body = _PATH + path, {"data": data}
        try:
            answer = self._http.request(method, path, json=None if method == "GET" else body, timeout=_TRY_S, **more)
        except httpx.TransportError as error:
            self._told(what, operation, type(error).__name__)
            sleep(0.05)
            return
        if answer.is_success:
            operation.ended, operation.outcome = monotonic(), Outcome.DONE
            for state in answer.json().get("results") or [answer.json()]:
                key, version = state["key"], state["version"]
                self._seen[key] = version
                if method == "GET":
                    operation.reads[key] = version, state["data"]["by"]
                else:
                    operation.writes[key] = version
            self._told(what, operation, "done")
            return
        code = answer.json()["code"]
        assert answer.status_code in {409, 412, 429, 503, 504}, answer.text
        if answer.status_code < 500:
            operation.outcome = Outcome.REFUSED
        self._told(what, operation, code)
        sleep(min(float(answer.headers.get("retry-after", "0")), 0.2))

    def _told(self, what: str, operation: Operation, said: str) -> None:
        self._cells.met[f"{what}: {said}"] += 1
        self._cells.note(operation)


def _history(person: Person, key: str) -> list[str]:
    """Return the marks of all versions of an object, from the first on."""
    found: list[tuple[int, str]] = []
    parameters: dict[str, Any] = {"page_size": 500}
    while True:
        page = person.http.get(f"{_PATH}{key}/history", params=parameters).json()
        found += [(entry["version"], entry["data"]["by"]) for entry in page["items"]]
        if page["next_page_token"] is None:
            break
        parameters["page_token"] = page["next_page_token"]
    found.reverse()
    assert [version for version, _ in found] == list(range(1, len(found) + 1))
    return [mark for _, mark in found]
