"""What every store promises of sessions and refresh tokens."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from stylobate.ids import new_id
from stylobate_auth.model import (
    SessionEnd,
)

from .stores import NOW, add_account, new_account, new_session, open_session, record, refresh_token, rotation


async def test_all_sessions_but_one_are_ended(bench: Any) -> None:
    """Those of the account that are alive; one that is over stays as it is, and so do others' sessions."""
    account, other = await add_account(bench.store, new_account()), await add_account(bench.store, new_account("eve@example.com"))
    mine, kept, over, expired = (
        new_session(account),
        new_session(account),
        new_session(account),
        new_session(account, expires_at=NOW),
    )
    foreign = new_session(other)
    for number, session in enumerate((mine, kept, over, expired, foreign)):
        await open_session(bench.store, session, refresh_token(str(number)))
    async with bench.store.transaction() as transaction:
        await transaction.end_session("default", over.id, SessionEnd.LOGOUT, NOW)
    at = NOW + timedelta(seconds=1)
    async with bench.store.transaction() as transaction:
        ended = await transaction.end_sessions("default", account.id, kept.id, SessionEnd.PASSWORD_CHANGED, at)
        assert ended == [replace(mine, ended_at=at, end=SessionEnd.PASSWORD_CHANGED)]
    assert await bench.other.session("default", kept.id) == kept
    assert (await bench.other.session("default", over.id)).end is SessionEnd.LOGOUT
    assert await bench.other.session("default", foreign.id) == foreign
    async with bench.other.transaction() as transaction:
        assert len(await transaction.end_sessions("default", account.id, "", SessionEnd.PASSWORD_CHANGED, at)) == 1


async def test_a_session_is_rotated_and_ended(bench: Any) -> None:
    """Refreshing spends a token and adds one; ending happens once and shows everywhere."""
    account = await add_account(bench.store, new_account())
    session = new_session(account)
    await open_session(bench.store, session, refresh_token())
    later = replace(session, expires_at=NOW + timedelta(days=31), token_expires_at=NOW + timedelta(minutes=11), seen_at=NOW)
    (found,) = await bench.other.refresh_tokens([("default", refresh_token().hash)])
    assert (found.token, found.session, found.account, found.secret, found.since_used) == (
        refresh_token(),
        session,
        account,
        b"",
        None,
    )
    async with bench.store.transaction() as transaction:
        assert await transaction.rotate_refresh([rotation(later)]) == [True]
        assert (await transaction.refresh_tokens([("default", refresh_token().hash)]))[0].since_used is not None
    keys = [("default", refresh_token(name).hash) for name in ("third", "first", "second")]
    unknown, spent, newest = await bench.other.refresh_tokens(keys)
    assert unknown is None
    assert timedelta(0) <= spent.since_used < timedelta(minutes=1)
    assert (newest.token.hash, newest.token.expires_at, newest.since_used) == (
        refresh_token("second").hash,
        refresh_token().expires_at,
        None,
    )
    assert timedelta(0) <= newest.since_issued < timedelta(minutes=1)
    assert spent.session == newest.session == later
    assert spent.secret == newest.secret == b"s" * 32
    async with bench.other.transaction() as transaction:
        ended = await transaction.end_session("default", session.id, SessionEnd.LOGOUT, NOW)
        assert ended == replace(later, ended_at=NOW, end=SessionEnd.LOGOUT)
        assert await transaction.end_session("default", session.id, SessionEnd.REFRESH_REUSED, NOW) is None
        assert await transaction.end_session("default", new_id(), SessionEnd.LOGOUT, NOW) is None
    assert await bench.store.rotate([(rotation(later, "second", "third"), record())]) == [False]
    assert await bench.store.session("default", session.id) == ended
    assert await bench.store.session("default", new_id()) is None
    assert await bench.store.session("default", "no id") is None


async def test_a_refresh_token_is_spent_by_one(bench: Any) -> None:
    """Two processes with the same token at the same moment: the second sees it as used."""
    account = await add_account(bench.store, new_account())
    session = new_session(account)
    await open_session(bench.store, session, refresh_token())

    async def use(store: Any, name: str) -> bool:
        async with store.transaction() as transaction:
            (is_done,) = await transaction.rotate_refresh([rotation(session, "first", name)])
            await asyncio.sleep(0.01)  # as long as the other needs to come in between, if it could
            return bool(is_done)

    assert sorted(await asyncio.gather(use(bench.store, "a"), use(bench.other, "b"))) == [False, True]


async def test_many_refresh_tokens_are_spent_in_one_step(bench: Any) -> None:
    """Each but those that were spent before or whose session is over; a record of each that was."""
    account = await add_account(bench.store, new_account())
    sessions = [new_session(account) for _ in range(4)]
    for number, session in enumerate(sessions):
        await open_session(bench.store, session, refresh_token(str(number)))
    async with bench.other.transaction() as transaction:
        await transaction.end_session("default", sessions[1].id, SessionEnd.LOGOUT, NOW)
        await transaction.rotate_refresh([rotation(sessions[2], "2", "before")])
    before = len(await bench.records())
    rotations = [rotation(session, str(number), f"new {number}") for number, session in enumerate(sessions)]
    assert await bench.store.rotate([(rotation, record()) for rotation in rotations]) == [True, False, False, True]
    assert len(await bench.records()) == before + 2
    found = await bench.other.refresh_tokens([("default", refresh_token(f"new {number}").hash) for number in range(4)])
    assert [one is not None for one in found] == [True, False, False, True]


async def test_sessions_that_live_are_listed(bench: Any) -> None:
    """The newest first, with the place of the newest refresh; in pages; not those that are over, or another's."""
    account, other = await add_account(bench.store, new_account()), await add_account(bench.store, new_account("eve@example.com"))
    first, second, over, expired = (
        new_session(account),
        new_session(account),
        new_session(account),
        new_session(account, expires_at=NOW),
    )
    for number, session in enumerate((first, second, over, expired, new_session(other))):
        await open_session(bench.store, session, refresh_token(str(number)))
    seen = replace(first, address="198.51.100.1", agent="phone", seen_at=NOW)
    async with bench.store.transaction() as transaction:
        await transaction.end_session("default", over.id, SessionEnd.LOGOUT, NOW)
        assert await transaction.rotate_refresh([rotation(seen, "0", "new")]) == [True]
    store = bench.other
    assert await store.sessions("default", account.id, NOW, "", 10) == [second, seen]
    assert await store.sessions("default", account.id, NOW, "", 1) == [second]
    assert await store.sessions("default", account.id, NOW, second.id, 10) == [seen]
    assert await store.sessions("another", account.id, NOW, "", 10) == []
