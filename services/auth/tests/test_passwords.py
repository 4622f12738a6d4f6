"""Another password for an account."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.audit import Outcome
from stylobate.errors import PermissionDeniedError, StylobateError, TokenRevokedError, UnauthenticatedError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate_auth.errors import (
    AccountUnknownError,
    AuthInvalidInputError,
    InvalidCredentialsError,
    PasswordWrongError,
    RefreshInvalidError,
)
from stylobate_auth.model import Tokens

from .conftest import PASSWORD, Auth

NEW = "another horse and battery"


@pytest.fixture
def auth(auth: Auth) -> Auth:
    """Return an auth that is called from one place, which an account knows after its first login."""
    auth.origin = replace(auth.origin, client_address="198.51.100.1")
    return auth


async def _in(auth: Auth, password: str) -> bool:
    try:
        await auth.login(password=password)
    except InvalidCredentialsError:
        return False
    return True


async def _refusal(auth: Auth, tokens: Tokens) -> str:
    with pytest.raises(StylobateError) as refused:
        await auth.passwords.change(auth.principal(tokens), "a guess", NEW, auth.origin)
    return refused.value.reason


async def test_the_new_password_holds_and_every_other_session_ends(auth: Auth) -> None:
    """The session that asked goes on with both of its tokens; of the others both are refused, and told so to all."""
    account = await auth.register()
    mine, *others = [await auth.login() for _ in range(3)]
    await auth.passwords.change(auth.principal(mine), PASSWORD, NEW, auth.origin)
    assert (await _in(auth, PASSWORD), await _in(auth, NEW)) == (False, True)
    assert await auth.accounts.me(auth.principal(mine)) == account
    await auth.refreshes.refresh("default", mine.refresh_token, auth.origin)
    for tokens in others:
        with pytest.raises(TokenRevokedError):
            await auth.accounts.me(auth.principal(tokens))
        with pytest.raises(RefreshInvalidError):
            await auth.refreshes.refresh("default", tokens.refresh_token, auth.origin)
    listed = {entry.id for entry in (await auth.store.revocations(None)).entries}
    assert listed == {auth.principal(tokens).session for tokens in others}


async def test_the_operator_sets_a_password(auth: Auth) -> None:
    """Every session ends, in the operator's name; no person may, and no service that acts for one."""
    account = await auth.register()
    mine = await auth.login()
    ada = auth.principal(mine)
    await auth.passwords.forgot(account.email, auth.origin)
    acting = Principal(kind=PrincipalKind.SERVICE, id="service:actions", via="actions", act_for=ada.id)
    for who in (ada, acting, ANONYMOUS):
        with pytest.raises(PermissionDeniedError):
            await auth.passwords.set(who, account.id, NEW, auth.origin)
    operator = replace(auth.origin, principal=auth.service)
    machine = await auth.machines.create(auth.service, "import", [], auth.origin)
    for nobody in (machine.id, "nobody", ""):
        with pytest.raises(AccountUnknownError):
            await auth.passwords.set(auth.service, nobody, NEW, operator)
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.passwords.set(auth.service, account.id, "password", operator)
    assert [one.pointer for one in refused.value.violations] == ["/new_password"]
    await auth.passwords.set(auth.service, account.id, NEW, operator)
    assert (await _in(auth, PASSWORD), await _in(auth, NEW)) == (False, True)
    with pytest.raises(TokenRevokedError):
        await auth.accounts.me(ada)
    (record,) = [record for record in auth.store.records if record.action == "auth.password.set"]
    assert (record.actor, record.target, record.detail["sessions_ended"]) == ("service:cli", f"user:{account.id}", 1)
    (event,) = [event for event in auth.store.events if event.type == "auth.user.password_changed"]
    assert event.actor == "service:cli"


async def test_who_verifies_may_have_a_clock_that_is_behind(auth: Auth) -> None:
    """A session whose last token is just over by our clock is told too: by another's the token holds a moment longer."""
    await auth.register()
    other = await auth.login()
    auth.clock.advance(auth.tokens.lifetime + timedelta(seconds=30))
    mine = await auth.login()
    await auth.passwords.change(auth.principal(mine), PASSWORD, NEW, auth.origin)
    assert [entry.id for entry in (await auth.store.revocations(None)).entries] == [auth.principal(other).session]


async def test_a_change_leaves_events_and_a_record(auth: Auth) -> None:
    """One event for the account, one for each session that ended with why; nothing of them holds address or password."""
    account = await auth.register()
    mine, other = await auth.login(), await auth.login()
    await auth.passwords.change(auth.principal(mine), PASSWORD, NEW, auth.origin)
    ended, changed = auth.store.events[-2:]
    assert (ended.type, ended.value()["session_id"]) == ("auth.session.ended", auth.principal(other).session)
    assert ended.value()["reason"] == "password_changed"
    assert (changed.type, changed.subject, changed.value()) == (
        "auth.user.password_changed", account.id, {"user_id": account.id},
    )  # fmt: skip
    record = auth.store.records[-1]
    assert (record.action, record.actor, record.target) == ("auth.password.change", account.id, f"user:{account.id}")
    assert record.detail["sessions_ended"] == 1


async def test_a_token_alone_is_not_enough(auth: Auth) -> None:
    """Who does not know the password changes nothing; the try is noted, and too many are slowed for this session alone."""
    await auth.register()
    mine, other = await auth.login(), await auth.login()
    with pytest.raises(PasswordWrongError) as refused:
        await auth.passwords.change(auth.principal(mine), "a guess", NEW, auth.origin)
    assert refused.value.http_status == 403
    record = auth.store.records[-1]
    assert (record.action, record.outcome, record.reason) == ("auth.password.change", Outcome.DENIED, "AUTH_PASSWORD_WRONG")
    await auth.accounts.me(auth.principal(other))
    refusals = []
    for number in range(40):  # who stole a token comes from wherever he likes
        auth.origin = replace(auth.origin, client_address=f"203.0.113.{number}")
        refusals.append(await _refusal(auth, mine))
    assert refusals == ["AUTH_PASSWORD_WRONG"] * 19 + ["RATE_LIMITED"] * 21  # login.account: 10/minute burst 20, one spent above
    await auth.login()
    await auth.passwords.change(auth.principal(other), PASSWORD, NEW, auth.origin)


@pytest.mark.parametrize("new", ["short", "x" * 1025, "password", PASSWORD, "ada@example.com"])
async def test_a_bad_new_password_is_refused_at_its_field(auth: Auth, new: str) -> None:
    """As at registration, and the current one again is none."""
    await auth.register()
    mine = await auth.login()
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.passwords.change(auth.principal(mine), PASSWORD, new, auth.origin)
    assert [violation.pointer for violation in refused.value.violations] == ["/new_password"]
    assert await _in(auth, PASSWORD)


async def test_registering_with_a_common_password_is_refused(auth: Auth) -> None:
    """The rules are the same wherever a password is chosen."""
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.accounts.register(auth.draft(password="trustno1"), auth.origin)
    assert [violation.pointer for violation in refused.value.violations] == ["/password"]


async def test_only_a_session_that_lives_changes_anything(auth: Auth) -> None:
    """Neither nobody nor a session that was ended."""
    await auth.register()
    mine = await auth.login()
    await auth.sessions.logout(auth.principal(mine), auth.origin)
    with pytest.raises(TokenRevokedError):
        await auth.passwords.change(auth.principal(mine), PASSWORD, NEW, auth.origin)
    with pytest.raises(UnauthenticatedError):
        await auth.passwords.change(ANONYMOUS, PASSWORD, NEW, auth.origin)


async def test_of_two_changes_at_once_one_holds(auth: Auth) -> None:
    """The other is told that its current password is not current any more."""
    await auth.register()
    one, two = await auth.login(), await auth.login()
    changes = [auth.passwords.change(auth.principal(tokens), PASSWORD, f"{NEW} {number}", auth.origin)
               for number, tokens in enumerate((one, two))]  # fmt: skip
    answers = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", "PasswordWrongError"]
    assert [await _in(auth, f"{NEW} {number}") for number in (0, 1)] == [answer is None for answer in answers]


async def test_a_login_that_meets_a_change_is_decided_by_what_holds_then(auth: Auth) -> None:
    """Verified against the old hash, and the hash replaced before its session opens: no session by the old password."""
    account = await auth.register()
    mine = await auth.login()
    verify, is_first = auth.hasher.verify, True

    async def slow(password_hash: str | None, password: str, **how: Any) -> bool:
        nonlocal is_first
        answer = await verify(password_hash, password, **how)
        if is_first:
            is_first = False
            await auth.passwords.change(auth.principal(mine), PASSWORD, NEW, auth.origin)
        return answer

    auth.hasher.verify = slow  # type: ignore[method-assign]
    with pytest.raises(InvalidCredentialsError):
        await auth.login()
    sessions = [session for session in auth.store._tables.sessions.values() if session.is_alive(auth.clock())]
    assert [session.id for session in sessions] == [auth.principal(mine).session]
    assert {session.account_id for session in sessions} == {account.id}
