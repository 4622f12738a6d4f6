"""Floods of logins, and people who log in meanwhile: figures for docs/reference/robustness.md."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from time import monotonic
from typing import Any

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import HASHES_BY_DEFAULT, Platform

from .conftest import TRUSTED, Tally, Visitor

pytestmark = pytest.mark.soak
RUN_S = 60.0
FLOOD = 50
"""Logins a second of the one who floods."""
HONEST = 4
"""Logins a second of everybody else together, each from an address of its own."""
PEOPLE = 40


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a platform with the defaults."""
    with Platform.run(tmp_path_factory.mktemp("flood"), environ=TRUSTED | HASHES_BY_DEFAULT) as running:
        yield running


async def _at_rate(rate: float, until: float, do: Callable[[int], Any]) -> None:
    """Begin ``do(n)`` so many times a second, whether or not those before have ended, and wait for all."""
    async with asyncio.TaskGroup() as group:
        begun = monotonic()
        for number in count():
            due = begun + number / rate
            if due >= until:
                return
            await asyncio.sleep(max(0.0, due - monotonic()))  # the pace itself
            group.create_task(do(number))


@asynccontextmanager
async def _people(platform: Platform) -> AsyncIterator[list[Visitor]]:
    """Give people with accounts, at addresses that have logged in before."""
    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(base_url=platform.gateway, timeout=40, limits=limits, verify=NO_TLS) as http:
        people = [Visitor(http, f"198.51.100.{number}") for number in range(PEOPLE)]
        for person in people:
            await person.register()
            assert await person.login() == "in"
        yield people


async def _flooded(
    platform: Platform, capsys: pytest.CaptureFixture[str], what: str, flood: Callable[..., Any], share: float = 1.0
) -> Tally:
    """Let ``flood(tally, victim, n)`` run beside honest logins; print how these went and return how the flood did.

    :param share: of the honest logins that must not be refused; those that are may hear ``AUTH_BUSY`` only.
    """
    honest, hostile = Tally(), Tally()
    async with _people(platform) as people:
        victim, *others = people
        until = monotonic() + RUN_S
        await asyncio.gather(
            _at_rate(HONEST, until, lambda number: honest.login(others[number % len(others)])),
            _at_rate(FLOOD, until, lambda number: flood(hostile, victim, number)),
        )
        owner = await victim.login()
    with capsys.disabled():
        print(f"\n{what}\n  honest logins: {honest}\n  the flood: {dict(hostile.ends)}\n  the victim afterwards: {owner}")  # noqa: T201
    assert owner == "in"
    assert honest.ends.keys() <= {"in", "AUTH_BUSY"}
    assert honest.ends["in"] >= share * honest.ends.total()
    return hostile


async def test_one_client_with_made_up_accounts(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """50 logins a second of one address, each with another account that nobody has: everybody else gets in."""

    async def flood(tally: Tally, victim: Visitor, number: int) -> None:
        await tally.login(Visitor(victim.http, "203.0.113.1"), "made up")

    await _flooded(platform, capsys, "one client, 50 logins a second, made-up accounts", flood)


async def test_one_client_with_one_account(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """50 logins a second of one address at one account: its owner gets in, and everybody else."""

    async def flood(tally: Tally, victim: Visitor, number: int) -> None:
        await tally.login(Visitor(victim.http, "203.0.113.2", victim.email), "a guess")

    await _flooded(platform, capsys, "one client, 50 logins a second, one account", flood)


async def test_two_hundred_addresses_with_one_account(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """200 addresses guess one account: no more tries than the rule says, and its owner gets in, also from elsewhere."""

    async def flood(tally: Tally, victim: Visitor, number: int) -> None:
        await tally.login(Visitor(victim.http, f"192.0.2.{number % 200}", victim.email), "a guess")

    hostile = await _flooded(platform, capsys, "200 addresses, 50 logins a second, one account", flood)
    assert hostile.ends["AUTH_INVALID_CREDENTIALS"] <= 20 + 10 * (RUN_S / 60 + 1)  # login.account: 10/minute burst 20


async def test_made_up_addresses_with_made_up_accounts(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """50 logins a second, each of another address: no limit knows them. What the hashing threads can do is shared fairly.

    More than they can do is refused with a time to come back, and nobody hears 504.
    """

    async def flood(tally: Tally, victim: Visitor, number: int) -> None:
        await tally.login(Visitor(victim.http, f"2001:db8:{number:x}::1"), "made up")

    hostile = await _flooded(platform, capsys, "a new address each time, 50 logins a second, made-up accounts", flood, share=0.25)
    assert hostile.ends.keys() <= {"AUTH_INVALID_CREDENTIALS", "AUTH_BUSY"}
