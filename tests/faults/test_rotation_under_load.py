"""The key that tokens are signed with is exchanged under as many logins a second as a machine bears: no request fails."""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from stylobate.identity.access_token import key_id_of
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import CHEAP_HASHES, HASHES_BY_DEFAULT, Platform

from tests.faults.traffic import UNHELD
from tests.people import PASSWORD

SETTINGS = UNHELD | {
    "STYLOBATE_AUTH_LOGIN_IP": "100000/minute burst 100000",
    "STYLOBATE_AUTH_LOGIN_ACCOUNT": "100000/minute burst 100000",
    "STYLOBATE_AUTH_REGISTER_IP": "100000/minute burst 100000",
    "STYLOBATE_AUTH_SIGNING_KEY_NOTICE": "2s",
}
"""By default a login takes a core for some 25 ms, so no two cores bear 100 a second: there it is as many as they do."""
RATE, AT_ONCE = 100, 8
PEOPLE, SECONDS = 20, 20
ROTATIONS = (4, 10)
"""Seconds after the beginning."""


class Crowd:
    """Logs in, and works with each token."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.emails = [f"load-{number}-{secrets.token_hex(4)}@example.com" for number in range(PEOPLE)]
        self.keys: set[str] = set()
        self.first: list[str] = []
        """Tokens of the first logins."""
        self.failed: list[str] = []
        self.done = 0

    async def register(self) -> None:
        """Make the accounts."""
        for email in self.emails:
            answer = await self._http.post("/v1/auth/register", json={"email": email, "password": PASSWORD})
            assert answer.status_code == 201, answer.text

    async def log_in(self, number: int) -> None:
        """Log in, and ask who that is, by the new token or by one of the first."""
        login = {"email": self.emails[number % PEOPLE], "password": PASSWORD}
        answer = await self._http.post("/v1/auth/login", json=login)
        if answer.status_code != 200:
            self.failed.append(answer.text)
            return
        token = answer.json()["access_token"]
        self.keys.add(key_id_of(token))
        if number < PEOPLE:
            self.first.append(token)
        held = token if number % 2 else self.first[number % len(self.first)]
        asked = await self._http.get("/v1/auth/me", headers={"authorization": f"Bearer {held}"})
        if asked.status_code != 200:
            self.failed.append(asked.text)
        self.done += 1


async def _on_time(crowd: Crowd) -> int:
    """Start logins at a fixed rate, without waiting for earlier ones; return how many were started."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, begun + number / RATE - loop.time()))
            group.create_task(crowd.log_in(number))
    return RATE * SECONDS


async def _without_a_pause(crowd: Crowd) -> int:
    """Log in one after the other, several at once; return how often."""
    numbers, until = itertools.count(), asyncio.get_running_loop().time() + SECONDS

    async def keep_on() -> None:
        while asyncio.get_running_loop().time() < until:
            await crowd.log_in(next(numbers))

    await asyncio.gather(*(keep_on() for _ in range(AT_ONCE)))
    return next(numbers)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("load", "hashing"),
    [(_on_time, CHEAP_HASHES), (_without_a_pause, HASHES_BY_DEFAULT)],
    ids=["100 a second, cheap hashes", "all that the machine bears, hashes by default"],
)
async def test_no_request_fails_while_keys_are_exchanged(
    tmp_path: Path, record_property: Any, load: Callable[[Crowd], Awaitable[int]], hashing: dict[str, str]
) -> None:
    """Twice within twenty seconds, at all processes: every login and every token, of three keys, is answered."""
    limits = httpx.Limits(max_connections=200)
    with Platform.run(tmp_path, "--split", environ=SETTINGS | hashing) as platform:
        async with httpx.AsyncClient(base_url=platform.gateway, timeout=60, limits=limits, verify=NO_TLS) as http:
            crowd = Crowd(http)
            await crowd.register()

            async def rotate() -> None:
                for before, at in zip((0, *ROTATIONS), ROTATIONS, strict=False):
                    await asyncio.sleep(timedelta(seconds=at - before).total_seconds())
                    done = await asyncio.to_thread(platform.command, "keys", "rotate")
                    assert done.returncode == 0, done.stderr

            begun, _ = await asyncio.gather(load(crowd), rotate())
        assert crowd.failed == []
        assert crowd.done == begun
        assert len(crowd.keys) == 1 + len(ROTATIONS)
        record_property("logins a second", begun / SECONDS)
