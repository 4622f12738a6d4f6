"""Failed logins as events: how many there are at most, and what they say."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from stylobate.errors import DatabaseUnavailableError, StylobateError
from stylobate.ids import new_id
from stylobate_auth.failed_login import FailedLogins

from .conftest import Auth
from .stores import NOW, add_account, new_account


def _told(auth: Auth) -> list[tuple[str, int]]:
    return [(event.subject, event.value()["count"]) for event in auth.store.events if event.type == "auth.login.failed"]


async def _fail(auth: Auth, email: str = "ada@example.com", times: int = 1) -> None:
    for _ in range(times):
        with suppress(StylobateError):
            await auth.login(email, "not the password")


async def test_several_are_one_event(auth: Auth) -> None:
    """A minute after the first one, with how many there were; nothing of one slip, and nothing of who has no account."""
    ada, _ = await auth.register(), await auth.register("eve@example.com")
    await _fail(auth, times=2)
    await auth.failures.step()
    auth.clock.advance(timedelta(seconds=59))
    await _fail(auth)
    await _fail(auth, "eve@example.com")
    await _fail(auth, "nobody@example.com", times=5)
    await auth.failures.step()
    assert _told(auth) == []
    auth.clock.advance(timedelta(seconds=1))
    await auth.failures.step()
    assert _told(auth) == [(ada.id, 3)]
    (event,) = [event for event in auth.store.events if event.type == "auth.login.failed"]
    assert sorted(event.value()) == ["count", "first_at", "last_at", "user_id"]
    auth.clock.advance(timedelta(hours=1))
    await auth.failures.step()
    assert _told(auth) == [(ada.id, 3)]


async def test_nobody_fills_the_log(auth: Auth) -> None:
    """However often somebody tries, there is one event for an account and a minute."""
    ada = await auth.register()
    for _ in range(6):
        for _ in range(50):
            auth.failures.note("default", ada.id)
        await auth.failures.step()
        auth.clock.advance(timedelta(seconds=10))
    await auth.failures.step()
    assert _told(auth) == [(ada.id, 300)]


async def test_what_cannot_be_written_down_is_written_later(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was noted meanwhile."""
    ada = await auth.register()
    auth.failures.note("default", ada.id)
    add = auth.store.add_failed_logins

    async def gone(*_: Any) -> None:
        auth.failures.note("default", ada.id)
        raise DatabaseUnavailableError

    monkeypatch.setattr(auth.store, "add_failed_logins", gone)
    with pytest.raises(DatabaseUnavailableError):
        await auth.failures.step()
    monkeypatch.setattr(auth.store, "add_failed_logins", add)
    auth.failures.note("default", ada.id)
    await auth.failures.step()
    auth.clock.advance(timedelta(minutes=1))
    await auth.failures.step()
    assert _told(auth) == [(ada.id, 3)]


async def test_every_store_counts(bench: Any) -> None:
    """Processes add to one count, which is taken once, and not of an account that is gone."""
    ada, eve = await add_account(bench.store, new_account()), await add_account(bench.store, new_account("eve@example.com"))
    soon, later = NOW + timedelta(seconds=1), NOW + timedelta(minutes=1)
    await bench.store.add_failed_logins([], later)
    for store, at in ((bench.store, soon), (bench.other, NOW)):
        failed = [FailedLogins("default", one, 2, at, at) for one in (ada.id, eve.id, new_id())]
        await store.add_failed_logins(failed, later)
    await bench.store.add_failed_logins([FailedLogins("default", eve.id, 1, soon, soon)], NOW)
    async with bench.store.transaction() as transaction:
        assert await transaction.take_failed_logins(soon, 10) == []
        await transaction.begin_deletion("default", eve.id, NOW)
    async with bench.store.transaction() as transaction:
        assert await transaction.take_failed_logins(later, 10) == [FailedLogins("default", ada.id, 4, NOW, soon)]
    async with bench.other.transaction() as transaction:
        assert await transaction.take_failed_logins(later, 10) == []
