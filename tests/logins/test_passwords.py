"""Changing a password, then logging in at once, on a platform of many processes: who is put out, and who never is."""

import asyncio
from typing import Any

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from .conftest import PASSWORD, Visitor

NEW = "another horse and battery"


async def _me(platform: Platform, token: str) -> int:
    """Ask over a connection of its own, so that any process may answer."""
    async with httpx.AsyncClient(base_url=platform.gateway, timeout=60, verify=NO_TLS) as http:
        return (await http.get("/v1/auth/me", headers={"authorization": f"Bearer {token}"})).status_code


@pytest.mark.parametrize("times", [20, pytest.param(100, marks=pytest.mark.soak)])
async def test_a_login_right_after_a_change_holds_and_every_other_session_ends(platform: Platform, times: int) -> None:
    """Each time the new session and the one that asked are let in at once, all others are put out everywhere, for good."""
    async with httpx.AsyncClient(base_url=platform.gateway, timeout=60, verify=NO_TLS) as http:
        for number in range(times):
            visitor = Visitor(http, f"198.51.100.{number}")
            await visitor.register()
            mine, *others = [await _token(visitor, PASSWORD) for _ in range(3)]
            change = {"current_password": PASSWORD, "new_password": NEW}
            assert (await visitor.ask("password/change", mine, **change)).status_code == 204
            new = await _token(visitor, NEW)
            assert await asyncio.gather(*(_me(platform, token) for token in (new, mine) * 2)) == [200] * 4
            for token in others:
                await until(lambda token=token: _me(platform, token), lambda status: status == 401)
            assert await asyncio.gather(*(_me(platform, token) for token in (new, mine))) == [200, 200]
            assert await visitor.login(PASSWORD) == "AUTH_INVALID_CREDENTIALS"


async def _token(visitor: Visitor, password: str) -> Any:
    answer = await visitor.ask("login", email=visitor.email, password=password)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]
