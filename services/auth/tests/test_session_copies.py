"""What the copies of sessions promise, held against both kinds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.ids import new_id
from stylobate.redis import RedisManager
from stylobate.testing import FakeClock
from stylobate_auth.model import Session, SessionEnd
from stylobate_auth.store.redis import RedisSessionCopies

from .memory_session_copies import MemorySessionCopies

NOW = datetime(2030, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)


@pytest.fixture
def memory() -> MemorySessionCopies:
    """Return copies in memory."""
    return MemorySessionCopies()


@pytest.fixture
def valkey(redis: RedisManager) -> RedisSessionCopies:
    """Return copies in Valkey."""
    return RedisSessionCopies(redis, FakeClock(NOW))


@pytest.fixture(params=["memory", "valkey"])
def copies(request: pytest.FixtureRequest) -> Any:
    """Return copies of either kind."""
    return request.getfixturevalue(request.param)


def _session(**changes: Any) -> Session:
    session = Session("default", new_id(), new_id(), NOW, NOW + timedelta(days=30), NOW + timedelta(minutes=10))
    return replace(session, **changes)


async def test_a_copy_is_the_session(copies: Any) -> None:
    """What was put comes back equal, an end included; what was not is None, in this and in another tenant."""
    session = _session()
    await copies.put(session)
    assert await copies.get("default", session.id) == session
    assert await copies.get("another", session.id) is None
    assert await copies.get("default", new_id()) is None
    ended = replace(session, ended_at=NOW, end=SessionEnd.LOGOUT)
    await copies.put(ended)
    assert await copies.get("default", session.id) == ended


async def test_what_was_read_does_not_replace_what_was_written(copies: Any) -> None:
    """A reader that was slow does not bring a session back to life that ended meanwhile."""
    session = _session()
    ended = replace(session, ended_at=NOW, end=SessionEnd.LOGOUT)
    await copies.put(ended)
    await copies.add(session)
    assert await copies.get("default", session.id) == ended
    other = _session()
    await copies.add(other)
    assert await copies.get("default", other.id) == other


async def test_copies_go_away_by_themselves(valkey: RedisSessionCopies, redis: RedisManager) -> None:
    """A copy lives for an hour at most and not beyond its session; one that is over leaves none."""
    long, short, over = _session(), _session(expires_at=NOW + timedelta(minutes=5)), _session(expires_at=NOW)
    for session in (long, short, over):
        await valkey.put(session)
    left = [await redis.call("TTL", f"auth:session:default:{session.id}") for session in (long, short, over)]
    assert 3590 <= left[0] <= 3600
    assert 290 <= left[1] <= 300
    assert left[2] == -2


async def test_a_copy_of_another_release_is_no_copy(valkey: RedisSessionCopies, redis: RedisManager) -> None:
    """What cannot be read is as good as absent."""
    session = _session()
    await redis.call("SET", f"auth:session:default:{session.id}", b'{"version": 2}')
    assert await valkey.get("default", session.id) is None


async def test_a_server_that_is_down_is_an_empty_one() -> None:
    """Neither reading nor writing fails for it."""
    async with RedisManager.open("unix:///nonexistent/redis.sock") as manager:
        copies = RedisSessionCopies(manager, FakeClock(NOW))
        session = _session()
        await copies.put(session)
        await copies.add(session)
        assert await copies.get("default", session.id) is None
