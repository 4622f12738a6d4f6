"""One refresh token that many use at once, over HTTP and whichever processes they meet."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.people import Person

AT_ONCE = 20


@pytest.fixture
def ada(platform: Platform) -> Iterator[Person]:
    """Give somebody who is logged in."""
    with Person(platform.gateway) as ada:
        yield ada.register()


def _refresh(platform: Platform, token: str) -> httpx.Response:
    """Ask on a connection of its own."""
    url = f"{platform.gateway}/v1/auth/refresh"
    return httpx.post(url, json={"refresh_token": token}, timeout=60, verify=NO_TLS)


async def test_twenty_at_once_get_one_next_token(platform: Platform, ada: Person) -> None:
    """And an access token each that works; used once the time for that is over, it ends the session with all of these."""

    def refresh(_: int) -> httpx.Response:
        return _refresh(platform, ada.refresh_token)

    def me(access_token: str) -> int:
        ada.http.headers["authorization"] = f"Bearer {access_token}"
        return ada.http.get("/v1/auth/me").status_code

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = [*threads.map(refresh, range(AT_ONCE))]
    assert [answer.status_code for answer in answers] == [200] * AT_ONCE
    found = [answer.json() for answer in answers]
    assert len({one["refresh_token"] for one in found}) == 1
    tokens = {one["access_token"] for one in found}
    assert len(tokens) == AT_ONCE
    assert {*map(me, tokens)} == {200}
    await until(lambda: _refresh(platform, ada.refresh_token).status_code == 401, within_s=60)
    assert _refresh(platform, ada.refresh_token).json()["code"] in {"AUTH_REFRESH_REUSED", "AUTH_REFRESH_INVALID"}
    await until(lambda: {*map(me, tokens)} == {401})
    assert _refresh(platform, found[0]["refresh_token"]).status_code == 401
