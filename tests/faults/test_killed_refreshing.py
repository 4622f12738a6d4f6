"""People log in and refresh while Valkey, PostgreSQL, auth and the gateway are killed: nobody is logged out by that."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform

from tests.faults.traffic import UNHELD
from tests.people import PASSWORD, Person

WITHIN = timedelta(seconds=60)
PEOPLE = 6
SETTINGS = UNHELD | {"STYLOBATE_AUTH_REFRESH_IP": "6000/minute burst 6000", "STYLOBATE_AUTH_REFRESH_GRACE": "60s"}
"""The grace time is for whoever sends a token again because its answer was lost: here that takes as long as a server's start."""


class Refreshing:
    """Somebody who refreshes a session on and on, and sends a token again until it is answered; and logs in now and then."""

    def __init__(self, person: Person) -> None:
        self.email = person.email
        self.token = person.refresh_token
        self.done = 0
        self.lost = 0
        """Answers that never came, or that said to come again."""
        self.refused: list[str] = []
        self.logins: list[str] = []
        """Refresh tokens of other sessions, as acknowledged."""

    def keep_on(self, gateway: str, stopping: threading.Event) -> None:
        """Refresh until told to stop, or refused."""
        with httpx.Client(base_url=f"{gateway}/v1/auth", timeout=60, verify=NO_TLS) as http:
            while not stopping.wait(0.02) and not self.refused:
                if self.done % 25 == 0:
                    self._log_in(http)
                try:
                    answer = http.post("/refresh", json={"refresh_token": self.token})
                except httpx.TransportError:
                    self.lost += 1
                    continue
                if answer.status_code == 200:
                    self.token = answer.json()["refresh_token"]
                    self.done += 1
                elif answer.status_code >= 500:
                    self.lost += 1
                else:
                    self.refused.append(answer.text)

    def _log_in(self, http: httpx.Client) -> None:
        try:
            answer = http.post("/login", json={"email": self.email, "password": PASSWORD})
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            self.logins.append(answer.json()["refresh_token"])


@contextmanager
def _all_at_it(gateway: str, people: list[Refreshing]) -> Iterator[None]:
    stopping = threading.Event()
    threads = [threading.Thread(target=one.keep_on, args=(gateway, stopping)) for one in people]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(120)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_nobody_is_logged_out_by_a_crash(tmp_path: Path) -> None:
    """Each token that was lost gives the next one when it comes again, each login that was answered is a session afterwards."""
    with Platform.run(tmp_path, "--split", environ=SETTINGS) as platform:
        people = []
        for number in range(PEOPLE):
            with Person(platform.gateway, f"p{number}") as person:
                people.append(Refreshing(person.register()))
        with _all_at_it(platform.gateway, people):
            for victim in ("postgres", "valkey", "auth", "gateway", "postgres", "auth"):
                before = [one.done for one in people]
                platform.kill(victim)
                platform.wait_healthy(WITHIN)
                _go_on(people, before)
        assert [one.refused for one in people] == [[] for _ in people]
        assert sum(one.lost for one in people) > 0, "nothing was interrupted"
        with httpx.Client(base_url=f"{platform.gateway}/v1/auth", timeout=60, verify=NO_TLS) as http:
            for one in people:
                for token in (one.token, *one.logins):
                    answer = http.post("/refresh", json={"refresh_token": token})
                    assert answer.status_code == 200, answer.text
                    me = http.get("/me", headers={"authorization": f"Bearer {answer.json()['access_token']}"})
                    assert me.status_code == 200, me.text


def _go_on(people: list[Refreshing], before: list[int]) -> None:
    """Wait until everybody has refreshed some times more, or was refused."""
    waiting = threading.Event()
    for _ in range(600):
        if all(one.refused or one.done >= count + 10 for one, count in zip(people, before, strict=True)):
            return
        waiting.wait(0.1)
    raise AssertionError([(one.done, one.lost, one.refused) for one in people])
