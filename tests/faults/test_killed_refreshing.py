"""People log in, refresh and ask for mails while Valkey, PostgreSQL, auth and the gateway are killed: nobody loses anything."""

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiosmtpd.controller import Controller
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

from tests.faults.traffic import UNHELD
from tests.logins.conftest import mail_to
from tests.people import PASSWORD, Person

WITHIN = timedelta(seconds=60)
PEOPLE = 6
MAILS = 3
VICTIMS = ("postgres", "valkey", "auth", "gateway", "postgres", "auth")
LONGER_THAN_GRACE_S = 8.0
SETTINGS = UNHELD | {
    "STYLOBATE_AUTH_REFRESH_IP": "6000/minute burst 6000",
    "STYLOBATE_AUTH_REGISTER_IP": "6000/minute burst 6000",
    "STYLOBATE_AUTH_LOGIN_IP": "6000/minute burst 6000",
}
"""The grace time is what it is by default: outages do not count."""


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
        self.mails = 0
        """How many were acknowledged; the limit of an account is three."""

    def keep_on(self, gateway: str, stopping: threading.Event) -> None:
        """Refresh until told to stop, or refused."""
        with httpx.Client(base_url=f"{gateway}/v1/auth", timeout=60, verify=NO_TLS) as http:
            while not stopping.wait(0.02) and not self.refused:
                if self.done % 25 == 0:
                    self._log_in(http)
                if self.done // 40 > self.mails and self.mails < MAILS:
                    self._ask_for_mail(http)
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

    def _ask_for_mail(self, http: httpx.Client) -> None:
        try:
            answer = http.post("/password/forgot", json={"email": self.email})
        except httpx.TransportError:
            return
        self.mails += answer.status_code == 202


class Mailbox:
    """A mail server, in a thread of its own: the tokens that arrived, by recipient and by mail."""

    def __init__(self) -> None:
        self.tokens: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take a mail."""
        message = message_from_bytes(envelope.content, policy=default)
        body = message.get_body(("plain",))
        assert body is not None
        found = re.findall(r"[A-Za-z0-9_-]{43}", body.get_content())
        self.tokens[envelope.rcpt_tos[0]][str(message["Message-ID"])].update(found)
        return "250 OK"


@contextmanager
def _listening(server: Controller) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


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
    """Each token that was lost gives the next one when it comes again; what was answered stands, every mail arrives as it was."""
    mailbox, port = Mailbox(), free_ports(1)
    server = Controller(mailbox, "127.0.0.1", port)
    with _listening(server), Platform.run(tmp_path, "--split", environ=SETTINGS | mail_to(port)) as platform:
        people = []
        for number in range(PEOPLE):
            with Person(platform.gateway, f"p{number}") as person:
                people.append(Refreshing(person.register()))
        with _all_at_it(platform.gateway, people):
            for victim in VICTIMS:
                before = [one.done for one in people]
                lost = _lose_an_answer(platform.gateway)
                killed = platform.kill(victim)
                if victim == "postgres":
                    _keep_away(platform, killed.pid)
                    assert _answer_again(platform.gateway, lost) == 200
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
            assert sum(one.mails for one in people) > 0, "nobody asked for a mail"
            assert wait_until(lambda: all(len(mailbox.tokens[one.email]) >= one.mails for one in people), WITHIN)
            for one in people:
                mails = mailbox.tokens[one.email]
                assert {len(tokens) for tokens in mails.values()} == {1}, mails
                reset = {"token": [*mails.values()][-1].pop(), "new_password": f"{PASSWORD} anew"}
                answer = http.post("/password/reset", json=reset)
                assert answer.status_code == 204, answer.text


def _lose_an_answer(gateway: str) -> str:
    """Refresh a session and forget what was answered; return the token that was spent."""
    with Person(gateway, "late") as person:
        spent = person.register().refresh_token
        assert person.http.post("/v1/auth/refresh", json={"refresh_token": spent}).status_code == 200
    return spent


def _answer_again(gateway: str, token: str) -> int:
    """Return what the token is answered with once the platform answers."""
    found: list[int] = []

    def is_answered() -> bool:
        try:
            answer = httpx.post(f"{gateway}/v1/auth/refresh", json={"refresh_token": token}, timeout=60, verify=NO_TLS)
        except httpx.TransportError:
            return False
        found.append(answer.status_code)
        return answer.status_code < 500

    assert wait_until(is_answered, WITHIN)
    return found[-1]


def _keep_away(platform: Platform, killed: int) -> None:
    """Stop the database that is started in place of the killed one, for longer than the grace time is."""
    assert wait_until(lambda: platform.children["postgres"].pid not in {killed, 0}, WITHIN)
    server = psutil.Process(platform.children["postgres"].pid)
    server.suspend()  # first: then it starts no more of those that serve
    everything = [server, *server.children(recursive=True)]
    for one in everything:
        one.suspend()
    try:
        threading.Event().wait(LONGER_THAN_GRACE_S)
    finally:
        for one in everything:
            one.resume()


def _go_on(people: list[Refreshing], before: list[int]) -> None:
    """Wait until everybody has refreshed some times more, or was refused."""
    waiting = threading.Event()
    for _ in range(600):
        if all(one.refused or one.done >= count + 10 for one, count in zip(people, before, strict=True)):
            return
        waiting.wait(0.1)
    raise AssertionError([(one.done, one.lost, one.refused) for one in people])
