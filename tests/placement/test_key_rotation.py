"""Exchanging the key that access tokens are signed with, while people log in and work."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
from stylobate.identity.access_token import key_id_of
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import wait_until

from tests.people import Person

PATIENCE = timedelta(seconds=60)


def test_nobody_notices_that_the_key_is_exchanged(platform):
    """Logins, refreshes and work with the tokens of both keys, at every process: no request fails, and the old token holds."""
    over = threading.Event()
    seen: set[str] = set()
    failed: list[str] = []

    def work(number):
        with Person(platform.gateway, f"rotation-{number}") as person:
            person.register()
            first = person.token
            while not over.is_set():
                refreshed = person.http.post("/v1/auth/refresh", json={"refresh_token": person.refresh_token})
                if refreshed.status_code != 200:
                    failed.append(refreshed.text)
                    return
                person.refresh_token = refreshed.json()["refresh_token"]
                token = refreshed.json()["access_token"]
                seen.add(key_id_of(token))
                # connections of their own: every process is asked
                for held in (token, first):
                    asked = httpx.get(
                        f"{platform.gateway}/v1/auth/me", headers={"authorization": f"Bearer {held}"}, verify=NO_TLS, timeout=60
                    )
                    if asked.status_code != 200:
                        failed.append(asked.text)
                over.wait(0.02)  # leaves the other tests' limit of an address alone
            person.login()

    with ThreadPoolExecutor(3) as pool:
        crowd = [pool.submit(work, number) for number in range(3)]
        try:
            assert wait_until(lambda: len(seen) == 1 or failed, PATIENCE)
            made = platform.command("keys", "rotate").stdout.split()
            assert made[1:3] == ["EdDSA", "next"]
            assert wait_until(lambda: made[0] in seen or failed, PATIENCE)
            listed = [line.split()[:3] for line in platform.command("keys", "signing").stdout.splitlines()]
            assert listed[0] == [made[0], "EdDSA", "current"]
            assert {line[2] for line in listed[1:]} == {"previous"}
        finally:
            over.set()
        for one in crowd:
            one.result()
    assert failed == []
    published = [key["kid"] for key in httpx.get(f"{platform.gateway}/.well-known/jwks.json", verify=NO_TLS).json()["keys"]]
    assert seen <= set(published)
