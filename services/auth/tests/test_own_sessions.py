"""An owner's look at the sessions of an account, and the end of some of them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate.errors import InvalidInputError, TokenRevokedError, UnauthenticatedError
from stylobate.identity import ANONYMOUS
from stylobate.ids import new_id
from stylobate.paging import page_token
from stylobate_auth.errors import RefreshInvalidError, SessionNotFoundError
from stylobate_auth.model import Tokens

from .conftest import Auth


async def _login(auth: Auth, address: str, agent: str) -> Tokens:
    caller = replace(auth.origin, client_address=address, client_agent=agent)
    auth.clock.advance(timedelta(minutes=1))
    return (await auth.accounts.login("ada@example.com", "correct horse battery staple", caller))[1]


async def _is_over(auth: Auth, tokens: Tokens) -> bool:
    try:
        await auth.accounts.me(auth.principal(tokens))
    except TokenRevokedError:
        with pytest.raises(RefreshInvalidError):
            await auth.refreshes.refresh("default", tokens.refresh_token, auth.origin)
        return True
    return False


async def test_an_owner_sees_where_a_session_is_used_from(auth: Auth) -> None:
    """At its login or its newest refresh, the newest session first; those that are over, and others', are not there."""
    await auth.register()
    await auth.register("eve@example.com")
    await auth.login("eve@example.com")
    phone = await _login(auth, "198.51.100.1", "phone")
    over = await _login(auth, "198.51.100.2", "over")
    laptop = await _login(auth, "198.51.100.3", "a" * 300)
    await auth.sessions.logout(auth.principal(over), auth.origin)
    auth.clock.advance(timedelta(minutes=5))
    await auth.refreshes.refresh(
        "default", phone.refresh_token, replace(auth.origin, client_address="2001:db8::1", client_agent="new phone")
    )
    found, token = await auth.sessions.alive(auth.principal(phone), 0, "")
    assert token == ""
    assert [(session.id, session.address, session.agent) for session in found] == [
        (auth.principal(laptop).session, "198.51.100.3", "a" * 256),
        (auth.principal(phone).session, "2001:db8::1", "new phone"),
    ]
    assert found[1].seen_at == auth.clock()
    assert found[0].seen_at == found[0].opened_at == auth.clock() - timedelta(minutes=5)


async def test_many_sessions_come_in_pages(auth: Auth) -> None:
    """Each once; a token of another's list is none."""
    await auth.register()
    mine = [await _login(auth, f"198.51.100.{number}", "") for number in range(5)]
    principal, seen, token = auth.principal(mine[0]), [], ""
    while True:
        page, token = await auth.sessions.alive(principal, 2, token)
        seen += [session.id for session in page]
        if not token:
            break
    assert seen == [auth.principal(tokens).session for tokens in reversed(mine)]
    with pytest.raises(InvalidInputError):
        await auth.sessions.alive(principal, 2, page_token(("sessions", principal.id), "made up"))
    await auth.register("eve@example.com")
    _, token = await auth.sessions.alive(principal, 2, "")
    with pytest.raises(InvalidInputError):
        await auth.sessions.alive(auth.principal(await auth.login("eve@example.com")), 2, token)


async def test_one_session_is_ended_by_another(auth: Auth) -> None:
    """With an event and a record that say so; the others go on; twice is not found."""
    await auth.register()
    mine, lost, third = [await _login(auth, f"198.51.100.{number}", "") for number in range(3)]
    session = auth.principal(lost).session
    await auth.sessions.revoke(auth.principal(mine), session, auth.origin)
    assert [await _is_over(auth, tokens) for tokens in (mine, lost, third)] == [False, True, False]
    assert {entry.id for entry in (await auth.store.revocations(None)).entries} == {session}
    event, record = auth.store.events[-1], auth.store.records[-1]
    assert (event.type, event.value()["session_id"], event.value()["reason"]) == ("auth.session.ended", session, "revoked")
    assert (record.action, record.target) == ("auth.session.revoke", f"session:{session}")
    with pytest.raises(SessionNotFoundError):
        await auth.sessions.revoke(auth.principal(mine), session, auth.origin)


async def test_all_others_are_ended(auth: Auth) -> None:
    """The one that asks goes on."""
    await auth.register()
    mine, *others = [await _login(auth, f"198.51.100.{number}", "") for number in range(3)]
    await auth.sessions.revoke_others(auth.principal(mine), auth.origin)
    assert [await _is_over(auth, tokens) for tokens in (mine, *others)] == [False, True, True]
    records = [record.target for record in auth.store.records if record.action == "auth.session.revoke"]
    assert sorted(records) == sorted(f"session:{auth.principal(tokens).session}" for tokens in others)


async def test_nobody_reaches_anothers_session(auth: Auth) -> None:
    """It is not there, as one that never was; nobody and a session that is over reach nothing."""
    await auth.register()
    await auth.register("eve@example.com")
    ada, eve = await auth.login(), await auth.login("eve@example.com")
    for session in (auth.principal(ada).session, new_id(), "no id", ""):
        with pytest.raises(SessionNotFoundError):
            await auth.sessions.revoke(auth.principal(eve), session, auth.origin)
    assert not await _is_over(auth, ada)
    await auth.sessions.logout(auth.principal(eve), auth.origin)
    with pytest.raises(TokenRevokedError):
        await auth.sessions.revoke_others(auth.principal(eve), auth.origin)
    with pytest.raises(TokenRevokedError):
        await auth.sessions.alive(auth.principal(eve), 0, "")
    with pytest.raises(UnauthenticatedError):
        await auth.sessions.alive(ANONYMOUS, 0, "")
