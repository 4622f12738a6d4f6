"""Sessions: refresh, reuse, logout."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from stylobate.audit import Outcome
from stylobate_auth.errors import RefreshInvalidError, RefreshReusedError
from stylobate_auth.model import RevocationKind, SessionEnd
from stylobate_auth.outages import LONGEST, Outages
from stylobate_auth.refresh_manager import RefreshManager

from .conftest import GRACE


async def _refresh(auth: Any, secret: str) -> Any:
    return (await auth.refreshes.refresh("default", secret, auth.origin))[1]


async def test_a_refresh_token_gives_new_tokens_once(auth: Any) -> None:
    """Each refresh spends its token; the session stays the same."""
    await auth.register()
    first = await auth.login()
    auth.clock.advance(timedelta(minutes=9))
    second = await _refresh(auth, first.refresh_token)
    third = await _refresh(auth, second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert auth.principal(third).session == auth.principal(first).session
    assert third.expires_at == auth.clock() + timedelta(minutes=10)


async def test_a_second_use_ends_the_session(auth: Any) -> None:
    """A refresh token that comes again later may be stolen: every token of its session is dead, and it is recorded."""
    await auth.register()
    first = await auth.login()
    second = await _refresh(auth, first.refresh_token)
    auth.clock.advance(GRACE + timedelta(seconds=1))
    with pytest.raises(RefreshReusedError):
        await _refresh(auth, first.refresh_token)
    with pytest.raises(RefreshInvalidError):
        await _refresh(auth, second.refresh_token)
    session_id = auth.principal(first).session
    (entry,) = auth.revocations._entries.values()
    assert (entry.kind, entry.id, entry.expires_at) == (
        RevocationKind.SESSION,
        session_id,
        second.expires_at + GRACE + LONGEST + timedelta(minutes=1),
    )
    assert auth.store.events[-1].type == "auth.session.ended"
    assert auth.store.events[-1].value()["reason"] == "refresh_reused"
    assert (auth.store.records[-1].outcome, auth.store.records[-1].reason) == (Outcome.DENIED, "AUTH_REFRESH_REUSED")
    assert (await auth.store.session("default", session_id)).end is SessionEnd.REFRESH_REUSED


async def test_those_who_race_get_the_same_next_token(auth: Any) -> None:
    """Twenty at the same moment, and one within the grace time after: one next token, an access token each."""
    await auth.register()
    tokens = await auth.login()
    answers = await asyncio.gather(*(_refresh(auth, tokens.refresh_token) for _ in range(20)))
    auth.clock.advance(GRACE)
    answers.append(await _refresh(auth, tokens.refresh_token))
    (newest,) = {answer.refresh_token for answer in answers}
    assert len({answer.access_token for answer in answers}) == 21
    assert [record.action for record in auth.store.records].count("auth.refresh") == 21
    assert (await _refresh(auth, newest)).refresh_token not in {newest, tokens.refresh_token}


async def test_who_comes_late_gets_the_newest_token(auth: Any) -> None:
    """Also when the next token was used since: a page that is behind another one does not bring an old token back."""
    await auth.register()
    tokens = await auth.login()
    newest = tokens
    for _ in range(4):
        newest = await _refresh(auth, newest.refresh_token)
        auth.clock.advance(timedelta(seconds=1))
    assert (await _refresh(auth, tokens.refresh_token)).refresh_token == newest.refresh_token


async def test_an_outage_does_not_count(auth: Any) -> None:
    """Who could not come again because the database was away has the grace time after it, and reuse ends the session then."""
    await auth.register()
    tokens = await auth.login()
    auth.outages.answered(auth.clock().timestamp())
    next_one = await _refresh(auth, tokens.refresh_token)
    auth.clock.advance(timedelta(minutes=2))  # nothing was answered meanwhile, and nothing is yet
    assert (await _refresh(auth, tokens.refresh_token)).refresh_token == next_one.refresh_token
    auth.outages.answered(auth.clock().timestamp())
    auth.clock.advance(GRACE)
    auth.outages.answered(auth.clock().timestamp() - 4)
    auth.outages.answered(auth.clock().timestamp() - 2)
    auth.outages.answered(auth.clock().timestamp())
    newest = await _refresh(auth, next_one.refresh_token)
    assert (await _refresh(auth, tokens.refresh_token)).refresh_token == newest.refresh_token
    session = await auth.store.session("default", auth.principal(tokens).session)
    assert session.token_expires_at >= auth.clock() + auth.tokens.lifetime
    for _ in range(6):
        auth.clock.advance(timedelta(seconds=1))
        auth.outages.answered(auth.clock().timestamp())
    with pytest.raises(RefreshReusedError):
        await _refresh(auth, tokens.refresh_token)


def test_outages_are_remembered_up_to_a_bound() -> None:
    """Their part of the time asked about; two seconds without an answer are one; none before the first answer."""
    now = [1000.0]
    outages = Outages(lambda: now[0])
    assert outages.within(timedelta(hours=1)) == timedelta(0)
    for at in (1000.0, 1001.5, 1011.5, 1012.0):
        outages.answered(at)
    now[0] = 1013.0
    assert outages.within(timedelta(seconds=60)) == timedelta(seconds=10)
    assert outages.within(timedelta(seconds=5)) == timedelta(seconds=3.5)
    now[0] = 1022.0
    assert outages.within(timedelta(seconds=60)) == timedelta(seconds=20)
    now[0] = 9000.0
    assert outages.within(timedelta(hours=9)) == LONGEST


async def test_every_rotation_has_a_secret_of_its_own(auth: Any) -> None:
    """Who has an old token cannot derive newer ones from what is kept, once nobody races any more."""
    await auth.register()
    tokens = await auth.login()
    key = ("default", auth.principal(tokens).session)
    secrets = set()
    for _ in range(3):
        tokens = await _refresh(auth, tokens.refresh_token)
        secrets.add(auth.store._tables.secrets[key])
        auth.clock.advance(3 * GRACE)
    assert len(secrets) == 3


async def test_a_session_that_the_release_before_refreshed_goes_on(auth: Any) -> None:
    """It left no secret: who races is told to come with the newer token, nothing ends, and the newer token works."""
    await auth.register()
    tokens = await auth.login()
    newer = await _refresh(auth, tokens.refresh_token)
    auth.store._tables.secrets.clear()
    with pytest.raises(RefreshInvalidError):
        await _refresh(auth, tokens.refresh_token)
    assert await _refresh(auth, newer.refresh_token)


async def test_a_token_that_another_process_uses_meanwhile(auth: Any) -> None:
    """Between the look and the write: the next token is the other's. A session that ends there gives none."""
    await auth.register()
    tokens, gone = await auth.login(), await auth.login()
    inner, others = auth.store.refresh_tokens, []

    async def late(keys: Any) -> Any:
        found = await inner(keys)
        if not others:
            others.append(None)
            others[0] = await other.refresh("default", tokens.refresh_token, auth.origin)
            await auth.sessions.logout(auth.principal(gone), auth.origin)
        return found

    lifetimes = auth.refreshes._lifetimes
    how = {"bans": auth.bans, "lifetimes": lifetimes, "outages": auth.outages, "clock": auth.clock}
    async with RefreshManager(auth.store, auth.sessions, auth.tokens, auth.limits, **how) as other:
        auth.store.refresh_tokens = late
        work = [_refresh(auth, one.refresh_token) for one in (tokens, gone)]
        mine, over = await asyncio.gather(*work, return_exceptions=True)
    assert mine.refresh_token == others[0][1].refresh_token
    assert isinstance(over, RefreshInvalidError)


async def test_a_session_ends_with_its_absolute_time(auth: Any) -> None:
    """However often it is refreshed; the last refresh token holds no longer than that."""
    await auth.register()
    tokens, opened_at = await auth.login(), auth.clock()
    for _ in range(4):
        auth.clock.advance(timedelta(days=24))
        tokens = await _refresh(auth, tokens.refresh_token)
    (session,) = (await auth.sessions.alive(auth.principal(tokens), 0, ""))[0]
    assert session.expires_at == opened_at + timedelta(days=100)
    auth.clock.advance(timedelta(days=4))
    with pytest.raises(RefreshInvalidError):
        await _refresh(auth, tokens.refresh_token)


async def test_the_session_of_another_is_untouched(auth: Any) -> None:
    """What ends one session leaves the other sessions of the account alone."""
    await auth.register()
    mine, other = await auth.login(), await auth.login()
    await _refresh(auth, mine.refresh_token)
    auth.clock.advance(2 * GRACE)
    with pytest.raises(RefreshReusedError):
        await _refresh(auth, mine.refresh_token)
    assert await _refresh(auth, other.refresh_token)


async def test_a_refresh_token_ends_with_its_time(auth: Any) -> None:
    """A session that nobody refreshes for thirty days is over; one that is refreshed goes on."""
    await auth.register()
    tokens = await auth.login()
    auth.clock.advance(timedelta(days=29))
    tokens = await _refresh(auth, tokens.refresh_token)
    auth.clock.advance(timedelta(days=29))
    tokens = await _refresh(auth, tokens.refresh_token)
    auth.clock.advance(timedelta(days=30))
    with pytest.raises(RefreshInvalidError):
        await _refresh(auth, tokens.refresh_token)


@pytest.mark.parametrize("secret", ["", "junk", "x" * 300, "é" * 10])
async def test_unknown_refresh_tokens_are_refused(auth: Any, secret: str) -> None:
    """Text that is not a refresh token of ours is invalid and ends nothing."""
    with pytest.raises(RefreshInvalidError):
        await _refresh(auth, secret)


async def test_an_access_token_is_no_refresh_token(auth: Any) -> None:
    """One kind of token never works as the other."""
    await auth.register()
    tokens = await auth.login()
    with pytest.raises(RefreshInvalidError):
        await _refresh(auth, tokens.access_token)


async def test_refresh_tokens_do_not_survive_logout(auth: Any) -> None:
    """After logout the refresh token is dead and the access token is on the deny-list until it ends by itself."""
    await auth.register()
    tokens = await auth.login()
    await auth.sessions.logout(auth.principal(tokens), auth.origin)
    with pytest.raises(RefreshInvalidError):
        await _refresh(auth, tokens.refresh_token)
    (entry,) = auth.revocations._entries.values()
    assert entry.expires_at == tokens.expires_at + timedelta(minutes=1)
    assert [event.type for event in auth.store.events] == ["auth.user.registered", "auth.session.opened", "auth.session.ended"]


async def test_logout_twice_is_logout(auth: Any) -> None:
    """Ending what is over changes nothing and is not an error."""
    await auth.register()
    principal = auth.principal(await auth.login())
    await auth.sessions.logout(principal, auth.origin)
    await auth.sessions.logout(principal, auth.origin)
    assert [event.type for event in auth.store.events].count("auth.session.ended") == 1


async def test_another_tenants_refresh_is_unknown(auth: Any) -> None:
    """A refresh token counts in its own tenant only."""
    await auth.register()
    tokens = await auth.login()
    with pytest.raises(RefreshInvalidError):
        await auth.refreshes.refresh("another", tokens.refresh_token, auth.origin)
    assert await _refresh(auth, tokens.refresh_token)


async def test_what_is_kept_of_a_refresh_token_does_not_give_it_away(auth: Any) -> None:
    """The store holds the SHA-256; neither repr nor copies hold the token."""
    await auth.register()
    tokens = await auth.login()
    stored = auth.store._tables.tokens
    assert list(stored) == [("default", hashlib.sha256(tokens.refresh_token.encode()).digest())]
    assert tokens.refresh_token not in repr(auth.store._tables)
    assert tokens.refresh_token not in repr(auth.copies._copies)
    assert tokens.refresh_token not in repr(tokens)


async def test_a_copy_answers_and_a_lost_copy_is_made_again(auth: Any) -> None:
    """Reading a session costs the store nothing while there is a copy, and works without one."""
    await auth.register()
    principal = auth.principal(await auth.login())
    auth.copies._copies.clear()
    session = await auth.sessions.require_alive(principal)
    assert await auth.copies.get("default", principal.session) == session
    auth.store._tables.sessions.clear()
    assert await auth.sessions.require_alive(principal) == session
