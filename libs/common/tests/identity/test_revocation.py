"""How a revocation reaches a verifier."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from stylobate.api.auth.v1.token_service_pb2 import Revocation
from stylobate.errors import TokenRevokedError
from stylobate.health import Status
from stylobate.identity.auth_feed import FeedTimings
from stylobate.identity.verifier import TokenVerifier

NOW = 1_800_000_000.0
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[float]]


def _refused(verifier: TokenVerifier, token: str) -> Callable[[], Awaitable[bool]]:
    async def is_refused() -> bool:
        try:
            assert verifier.cached(token) is not None
        except TokenRevokedError:
            return True
        return False

    return is_refused


def _holds(verifier: TokenVerifier, revocations: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return (await verifier.health()).metrics["revocations"] == revocations

    return holds


async def _ready(authority: Any, verifier: TokenVerifier, token: str) -> None:
    await verifier.ready.wait()
    await asyncio.wait_for(authority.tokens.watched.wait(), 60)
    await verifier.verify(token)


@pytest.mark.parametrize(
    ("kind", "name", "more"),
    [("SESSION", "session-1", {}), ("TOKEN", "token-1", {}), ("SUBJECT", "user-1", {"not_before": 1_800_000_001.0})],
    ids=["session", "token", "subject"],
)
async def test_a_revocation_reaches_a_cached_token_within_a_second(
    authority: Any,
    kind: str,
    name: str,
    more: dict[str, Any],
    eventually: Eventually,
) -> None:
    """Whatever it names, the stream brings it and the cache does not help."""
    token = authority.key.sign()
    async with authority.verifier() as verifier:
        await _ready(authority, verifier, token)
        authority.revoke(kind, name, **more)
        assert await eventually(_refused(verifier, token)) < 1


async def test_revocations_of_others_do_not_touch_a_token(authority: Any, eventually: Eventually) -> None:
    """Another session, another tenant's session of the same id, and a subject's older tokens leave it alone."""
    token = authority.key.sign()
    async with authority.verifier() as verifier:
        await _ready(authority, verifier, token)
        authority.revoke("SESSION", "session-2")
        authority.revoke("SESSION", "session-1", tenant="another")
        authority.revoke("SUBJECT", "user-1", not_before=1_800_000_000.0)
        authority.revoke("TOKEN", "token-2")
        await eventually(_holds(verifier, 4))
        assert verifier.cached(token) is not None


async def test_a_stream_that_was_cut_is_opened_again(authority: Any, eventually: Eventually) -> None:
    """What was revoked while it was down comes with the list that the new stream starts with."""
    token = authority.key.sign()
    async with authority.verifier() as verifier:
        await _ready(authority, verifier, token)
        authority.tokens.refuses_streams = True
        authority.tokens.cut()
        authority.revoke("SESSION", "session-1")
        assert verifier.cached(token) is not None
        authority.tokens.refuses_streams = False
        assert await eventually(_refused(verifier, token)) < 5


async def test_without_a_stream_the_list_is_enough(authority: Any, eventually: Eventually) -> None:
    """Where streams do not pass, the regular look brings it."""
    authority.tokens.refuses_streams = True
    token = authority.key.sign()
    async with authority.verifier(timings=FeedTimings(list_every=timedelta(milliseconds=50))) as verifier:
        await verifier.ready.wait()
        await verifier.verify(token)
        authority.revoke("SESSION", "session-1")
        assert await eventually(_refused(verifier, token)) < 2


async def test_a_silent_stream_is_not_trusted(authority: Any, eventually: Eventually) -> None:
    """A stream that stands but says nothing (a half-open connection) is opened again."""
    timings = FeedTimings(list_every=timedelta(hours=1), silence=timedelta(milliseconds=100))
    token = authority.key.sign()
    async with authority.verifier(timings=timings) as verifier:
        await _ready(authority, verifier, token)
        entry_only_in_the_list = authority.tokens.revocations
        authority.tokens.watchers.clear()  # nothing will ever come by this one
        authority.revoke("SESSION", "session-1")
        assert entry_only_in_the_list
        assert await eventually(_refused(verifier, token)) < 2


async def test_an_older_list_takes_nothing_back(authority: Any, eventually: Eventually) -> None:
    """A list of an auth process that has not heard yet does not undo an addition."""
    token = authority.key.sign()
    timings = FeedTimings(list_every=timedelta(milliseconds=20))
    async with authority.verifier(timings=timings) as verifier:
        await _ready(authority, verifier, token)
        authority.revoke("SESSION", "session-1")
        await eventually(_refused(verifier, token))
        authority.tokens.revocations.clear()
        while not authority.tokens.lists.locked():
            await authority.tokens.lists.acquire()
        await authority.tokens.lists.acquire()  # a whole round with the older list
        await authority.tokens.lists.acquire()
        with pytest.raises(TokenRevokedError):
            verifier.cached(token)


async def test_entries_are_forgotten_when_no_token_can_match_them(authority: Any, eventually: Eventually) -> None:
    """The list in memory stays short."""
    authority.revoke("SESSION", "session-1")
    timings = FeedTimings(list_every=timedelta(milliseconds=20))
    async with authority.verifier(timings=timings) as verifier:
        await verifier.ready.wait()
        assert (await verifier.health()).metrics["revocations"] == 1
        authority.tokens.revocations.clear()
        authority.clock.now += 700
        await eventually(_holds(verifier, 0))


async def test_a_new_access_version_is_announced(authority: Any) -> None:
    """Whoever decided on the old roles hears that they changed, once per change."""
    async with authority.verifier() as verifier:
        await _ready(authority, verifier, authority.key.sign())
        heard: asyncio.Queue[int] = asyncio.Queue()
        verifier.on_change(lambda: heard.put_nowait(verifier._feed.access_version))
        authority.tokens.push()
        authority.tokens.access_version = 2
        authority.tokens.push()
        authority.tokens.push()
        assert await asyncio.wait_for(heard.get(), 60) == 2
        assert heard.empty()


async def test_without_a_stream_a_new_access_version_comes_with_the_list(authority: Any) -> None:
    """So a role or a grant that is taken away ends within seconds also where no stream passes."""
    authority.tokens.refuses_streams = True
    async with authority.verifier(timings=FeedTimings(list_every=timedelta(milliseconds=50))) as verifier:
        await verifier.ready.wait()
        heard: asyncio.Queue[int] = asyncio.Queue()
        verifier.on_change(lambda: heard.put_nowait(verifier._feed.access_version))
        authority.tokens.access_version = 2
        assert await asyncio.wait_for(heard.get(), 60) == 2


@pytest.mark.parametrize("name", ["session-1", "token-1", "user-1"])
async def test_a_kind_that_is_not_known_fails_closed(authority: Any, eventually: Eventually, name: str) -> None:
    """What a newer auth revokes is refused by whatever bears its id, and health says that there are such."""
    token = authority.key.sign()
    async with authority.verifier() as verifier:
        await _ready(authority, verifier, token)
        entry = Revocation(kind=17, id=name, tenant="default", expires_at=Timestamp(seconds=int(NOW) + 600))
        authority.tokens.revocations.append(entry)
        authority.tokens.push(entry)
        assert await eventually(_refused(verifier, token)) < 5
        other = await verifier.verify(authority.key.sign(sub="user-2", sid="session-2", jti="token-2"))
        assert other.id == "user-2"
        health = await verifier.health()
        assert (health.status, "does not know" in health.details) == (Status.DEGRADED, True)


async def test_a_revoked_key_is_refused_by_its_id(authority: Any, eventually: Eventually) -> None:
    """The kind of API keys is known one release before they are."""
    token = authority.key.sign()
    async with authority.verifier() as verifier:
        await _ready(authority, verifier, token)
        authority.revoke("KEY", "token-1")
        assert await eventually(_refused(verifier, token)) < 5
        assert (await verifier.health()).status is Status.HEALTHY


async def test_a_login_in_the_second_of_the_end_of_everything_holds(authority: Any, eventually: Eventually) -> None:
    """Times have fractions: a token of 0.3 s before is refused, one of 0.3 s after is not."""
    authority.revoke("SUBJECT", "user-1", not_before=NOW + 0.5)
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        await eventually(_holds(verifier, 1))
        with pytest.raises(TokenRevokedError):
            await verifier.verify(authority.key.sign(iat=NOW + 0.2))
        assert await verifier.verify(authority.key.sign(iat=NOW + 0.8, jti="after"))
