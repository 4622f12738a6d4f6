"""The deny-list of a process and those who watch it."""

import asyncio
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from stylobate.errors import DatabaseUnavailableError
from stylobate.testing.until import until
from stylobate_auth.model import Revocation, RevocationKind
from stylobate_auth.revocation_manager import RevocationManager

SOON_S = 5


@asynccontextmanager
async def _running(manager: RevocationManager) -> Any:
    task = asyncio.create_task(manager.run())
    try:
        yield manager
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _entry(auth: Any, id: str = "session-1", lifetime: timedelta = timedelta(minutes=10)) -> Revocation:  # noqa: A002
    return Revocation("default", RevocationKind.SESSION, id, auth.clock() + lifetime)


async def _revoke(auth: Any, entry: Revocation) -> None:
    async with auth.store.transaction() as transaction:
        await transaction.revoke(entry)


async def _next(changes: Any) -> Any:
    async with asyncio.timeout(SOON_S):
        return await anext(changes)


async def test_a_clock_that_is_put_back_hides_nothing(auth: Any, clock: Any) -> None:
    """After the database's clock stepped back a day, what is revoked next is found at the next look."""
    manager = auth.revocations
    await manager.look()
    clock.set(clock() - timedelta(days=1))
    await _revoke(auth, _entry(auth, "after"))
    await manager.look()
    assert [entry.id for entry in manager.current().entries] == ["after"]


async def test_a_watcher_gets_the_list_then_additions(auth: Any) -> None:
    """First everything, then what is added, whether this process or another one added it."""
    await _revoke(auth, _entry(auth, "before"))
    manager = auth.revocations
    await manager.look()
    async with _running(manager), aclosing(manager.watch()) as changes:
        first = await _next(changes)
        assert ([entry.id for entry in first.entries], first.is_complete) == (["before"], True)
        manager.add(_entry(auth, "mine"))
        second = await _next(changes)
        assert ([entry.id for entry in second.entries], second.is_complete) == (["mine"], False)
        await _revoke(auth, _entry(auth, "theirs"))
        assert [entry.id for entry in (await _next(changes)).entries] == ["theirs"]


async def test_a_missed_notification_costs_a_moment(auth: Any) -> None:
    """The regular look finds what no notification told."""
    manager = auth.revocations
    await manager.look()
    async with _running(manager), aclosing(manager.watch()) as changes:
        await _next(changes)
        auth.store._callbacks.clear()
        await _revoke(auth, _entry(auth))
        while not (await _next(changes)).entries:
            pass


async def test_a_quiet_stream_proves_that_it_lives(auth: Any) -> None:
    """Without anything to say there is an empty message after a while."""
    manager = RevocationManager(auth.store, clock=auth.clock, say_every=timedelta(milliseconds=10))
    await manager.look()
    async with aclosing(manager.watch()) as changes:
        await _next(changes)
        change = await _next(changes)
        assert (change.entries, change.is_complete) == ((), False)


async def test_a_change_of_roles_wakes_watchers(auth: Any) -> None:
    """The access version travels on the same stream, at once."""
    manager = RevocationManager(auth.store, clock=auth.clock, say_every=timedelta(hours=1))
    await manager.look()
    async with _running(manager), aclosing(manager.watch()) as changes:
        before = (await _next(changes)).access_version
        await auth.store.announce_roles("other roles")
        assert (await _next(changes)).access_version == before + 1


async def test_entries_leave_when_they_expire(auth: Any) -> None:
    """The list holds what living tokens could match, no more."""
    await _revoke(auth, _entry(auth))
    await auth.revocations.look()
    assert len(auth.revocations.current().entries) == 1
    auth.clock.advance(timedelta(minutes=10))
    await auth.revocations.look()
    assert not auth.revocations.current().entries


async def test_before_the_first_look_nothing_is_claimed(auth: Any) -> None:
    """An empty list and an unknown one are different answers."""
    with pytest.raises(DatabaseUnavailableError):
        auth.revocations.current()


async def test_without_the_database_the_list_stays_and_says_its_age(auth: Any) -> None:
    """What was known is still given, with how old it is; the watch goes on when the database is back."""

    class _Failing:
        is_down = True

        def __getattr__(self, name: str) -> Any:
            return getattr(auth.store, name)

        async def revocations(self, since: Any) -> Any:
            if self.is_down:
                raise DatabaseUnavailableError
            return await auth.store.revocations(since)

    store = _Failing()
    store.is_down = False
    manager = RevocationManager(store, clock=auth.clock, look_every=timedelta(milliseconds=10))
    await _revoke(auth, _entry(auth))
    await manager.look()
    store.is_down = True
    manager._following.looked(monotonic() - 7)
    async with _running(manager):
        change = manager.current()
        assert len(change.entries) == 1
        assert change.age >= timedelta(seconds=6)
        assert (await manager.health()).status == "degraded"
        store.is_down = False
        await until(lambda: not manager.current().age, within_s=SOON_S)
