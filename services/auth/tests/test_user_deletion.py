"""Deleting accounts: what goes at once, what others are told, and that it is done only when they have answered."""

from datetime import timedelta
from typing import Any

import pytest
from stylobate.errors import PermissionDeniedError, TokenRevokedError, UnavailableError
from stylobate.health import Status
from stylobate.identity.api_key import read_api_key
from stylobate.ids import new_id
from stylobate_auth.api_key import ApiKeyDraft, Standing
from stylobate_auth.errors import (
    AccountUnknownError,
    InvalidCredentialsError,
    LastAdministratorError,
    MailTokenInvalidError,
    PasswordWrongError,
    RefreshInvalidError,
)
from stylobate_auth.model import RevocationKind
from stylobate_auth.user import UserDeletion, UserQuery

from .conftest import PASSWORD, Auth
from .stores import NOW, add_account, new_account
from .test_api_key_store import _key
from .test_users import _admin


def _told(auth: Auth, account_id: str) -> list[str]:
    return [event.type for event in auth.store.events if event.subject == account_id]


async def test_all_that_is_its_own_goes_at_once(auth: Auth) -> None:
    """Nobody gets in by anything any more, its address is free, and an id is what is left."""
    root, ada = await _admin(auth), await auth.register()
    tokens = await auth.login()
    _, text = await auth.keys.create(auth.principal(tokens), ApiKeyDraft("a"), auth.origin)
    await auth.passwords.forgot("ada@example.com", auth.origin)
    mailed = await auth.post.token()
    for _ in range(2):
        await auth.eraser.delete(root, ada.id, auth.origin)
    entries = (await auth.store.revocations(None)).entries
    assert {entry.kind for entry in entries} == {RevocationKind.SESSION, RevocationKind.KEY, RevocationKind.SUBJECT}
    auth.clock.advance(timedelta(minutes=2))
    with pytest.raises(InvalidCredentialsError):
        await auth.login()
    with pytest.raises(RefreshInvalidError):
        await auth.refreshes.refresh("default", tokens.refresh_token, auth.origin)
    with pytest.raises(TokenRevokedError):
        await auth.accounts.me(auth.principal(tokens))
    with pytest.raises(MailTokenInvalidError):
        await auth.passwords.reset(mailed, "another long password", auth.origin)
    assert (await auth.keys.verify([read_api_key(text)]))[0].standing is Standing.UNKNOWN
    assert await auth.users.get(root, ada.id) == UserDeletion("default", ada.id, auth.clock() - timedelta(minutes=2))
    assert ada.id not in [account.id for account in (await auth.users.page(root, UserQuery(), 0, ""))[0]]
    assert (await auth.register()).id != ada.id
    assert _told(auth, ada.id)[-2:] == ["auth.session.ended", "auth.user.deleting"]
    assert sum(record.action == "auth.user.delete" for record in auth.store.records) == 1


async def test_it_is_done_when_all_have_answered(auth: Auth) -> None:
    """One that does not is asked again, and the event comes once."""
    root, ada = await _admin(auth), await auth.register()
    await auth.eraser.delete(root, ada.id, auth.origin)
    auth.others.fault = UnavailableError()
    assert await auth.eraser.step() == 1
    assert (await auth.eraser.health()).status is Status.DEGRADED
    assert await auth.eraser.step() == 0
    auth.others.fault = None
    auth.clock.advance(timedelta(seconds=10))
    assert await auth.eraser.step() == 1
    assert auth.others.forgot == [ada.id]
    assert (await auth.eraser.health()).status is Status.HEALTHY
    found = await auth.users.get(root, ada.id)
    assert isinstance(found, UserDeletion)
    assert found.done_at == auth.clock()
    auth.clock.advance(timedelta(hours=1))
    assert await auth.eraser.step() == 0
    assert _told(auth, ada.id)[-2:] == ["auth.user.deleting", "auth.user.deleted"]


async def test_what_is_forgotten_does_not_hide_what_is_not(auth: Auth) -> None:
    """Health tells of an account that others keep, also after another one was forgotten, and not for good."""
    root, ada, eve = await _admin(auth), await auth.register(), await auth.register("eve@example.com")
    await auth.eraser.delete(root, ada.id, auth.origin)
    await auth.eraser.delete(root, eve.id, auth.origin)
    auth.others.fault, auth.others.spared = UnavailableError(), eve.id
    assert await auth.eraser.step() == 2
    health = await auth.eraser.health()
    assert (health.status, ada.id in health.details, eve.id in health.details) == (Status.DEGRADED, True, False)
    auth.clock.advance(timedelta(minutes=1))  # another process had it done
    assert (await auth.eraser.health()).status is Status.HEALTHY


async def test_an_owner_deletes_with_the_password(auth: Auth) -> None:
    """With it and with nothing else; the last administrator stays."""
    ada = await auth.register()
    principal = auth.principal(await auth.login())
    with pytest.raises(PasswordWrongError):
        await auth.eraser.delete_own(principal, "not the password", auth.origin)
    with pytest.raises(PermissionDeniedError):
        await auth.eraser.delete(principal, ada.id, auth.origin)
    auth.clock.advance(timedelta(minutes=2))
    await auth.eraser.delete_own(principal, PASSWORD, auth.origin)
    assert await auth.store.account("default", ada.id) is None
    root = await _admin(auth)
    auth.clock.advance(timedelta(minutes=2))
    mine = auth.principal(await auth.login("root@example.com"))
    with pytest.raises(LastAdministratorError):
        await auth.eraser.delete_own(mine, PASSWORD, auth.origin)
    for nobody in (new_id(), "x", ""):
        with pytest.raises(AccountUnknownError):
            await auth.eraser.delete(root, nobody, auth.origin)


async def test_every_store_deletes(bench: Any) -> None:
    """The account goes with what hangs on it; the deletion is taken by one at a time, and ends once."""
    person, other = (
        await add_account(bench.store, new_account()),
        await add_account(bench.store, new_account("other@example.com")),
    )
    key = (await _key(bench.store, person.id)).id
    async with bench.store.transaction() as transaction:
        await transaction.begin_deletion("default", person.id, NOW)
    assert await bench.other.user("default", person.id) is None
    assert await bench.other.api_keys_by_id([key]) == {}
    assert await bench.other.user("default", other.id) == other
    deletion = UserDeletion("default", person.id, NOW)
    assert await bench.other.deletion("default", person.id) == deletion
    assert [await bench.other.deletion("default", nobody) for nobody in (other.id, "x")] == [None, None]
    later = NOW + timedelta(minutes=5)
    assert await bench.other.take_deletions(NOW, later, 4) == [deletion]
    assert await bench.store.take_deletions(NOW, later, 4) == []
    await bench.store.delay_deletion(deletion, NOW)
    assert await bench.store.take_deletions(NOW, later, 4) == [deletion]
    for is_first in (True, False):
        async with bench.store.transaction() as transaction:
            assert await transaction.finish_deletion("default", person.id, later) is is_first
    await bench.store.delay_deletion(deletion, NOW)
    assert await bench.store.take_deletions(later, later, 4) == []
    assert (await bench.other.deletion("default", person.id)).done_at == later
    await add_account(bench.store, new_account())
