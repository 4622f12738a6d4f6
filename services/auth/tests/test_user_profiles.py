"""The name and the address of an account, changed by the operator."""

from dataclasses import replace
from typing import Any

import pytest
from stylobate.errors import PermissionDeniedError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate.rpc.call import Call
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError, EmailTakenError, MailTokenInvalidError
from stylobate_auth.password_hasher import PasswordHasher

from .conftest import PASSWORD, Auth, build

NEW = "ada@example.org"


def _operator(auth: Auth) -> Call:
    return replace(auth.origin, principal=auth.service)


async def test_the_operator_changes_a_name(auth: Auth) -> None:
    """In its own name; the event and the record name the account and neither of the names."""
    account = await auth.register(display_name="Ada")
    renamed = await auth.user_profiles.rename(auth.service, account.id, " Countess ", _operator(auth))
    assert renamed == replace(account, display_name="Countess")
    assert await auth.store.account("default", account.id) == renamed
    event, record = auth.store.events[-1], auth.store.records[-1]
    assert (event.type, event.actor, event.value()) == ("auth.user.changed", "service:cli", {"user_id": account.id})
    assert (record.action, record.actor, record.target) == ("auth.account.change", "service:cli", f"user:{account.id}")
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.user_profiles.rename(auth.service, account.id, "a\u202eb", _operator(auth))
    assert [violation.pointer for violation in refused.value.violations] == ["/display_name"]


async def test_the_operator_gives_another_address(auth: Auth) -> None:
    """At once, and proven; what was sent to the old mailbox lets nobody in any more, and its reader is told."""
    account = await auth.register()
    await auth.passwords.forgot(account.email, auth.origin)
    forgotten = await auth.post.token()
    auth.post.sent.clear()
    changed = await auth.user_profiles.set_email(auth.service, account.id, NEW, _operator(auth))
    assert (changed.email, changed.email_verified) == (NEW, True)
    found, _ = await auth.accounts.login(NEW, PASSWORD, auth.origin)
    assert found == changed
    with pytest.raises(MailTokenInvalidError):
        await auth.passwords.reset(forgotten, "another horse and battery", auth.origin)
    (notice,) = await auth.post.mails()
    assert (notice.to, notice.subject) == (account.email, "Your account of Shop has another address")
    assert "auth.user.email_changed" in [event.type for event in auth.store.events if event.actor == "service:cli"]
    other = await auth.register(account.email)  # it is free
    with pytest.raises(EmailTakenError):
        await auth.user_profiles.set_email(auth.service, other.id, NEW.upper(), _operator(auth))
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.user_profiles.set_email(auth.service, other.id, "nobody", _operator(auth))
    assert [violation.pointer for violation in refused.value.violations] == ["/email"]


async def test_the_operator_proves_an_address(auth: Auth) -> None:
    """By giving the one that the account has: nobody is written to, and nothing else changes."""
    account = await auth.register()
    proven = await auth.user_profiles.set_email(auth.service, account.id, account.email, _operator(auth))
    assert proven == replace(account, email_verified=True) == await auth.store.account("default", account.id)
    assert (auth.store.events[-1].type, await auth.post.mails()) == ("auth.user.email_verified", [])


async def test_without_mail_nothing_is_left_of_the_old_address(auth: Auth, hasher: PasswordHasher) -> None:
    """Nobody would ever be told, and it would be kept for good."""
    silent = build(auth.clock, hasher, has_mail=False)
    account = await silent.register()
    assert (await silent.user_profiles.set_email(silent.service, account.id, NEW, _operator(silent))).email == NEW
    assert account.email not in repr(vars(silent.store._tables))


async def test_nobody_else_may(auth: Auth) -> None:
    """No person, whatever their roles, no service that acts for one; and it is about people's accounts only."""
    account = await auth.register()
    ada = auth.principal(await auth.login())
    acting = Principal(kind=PrincipalKind.SERVICE, id="service:actions", via="actions", act_for=ada.id)
    asked: list[Any] = [
        lambda who, whose: auth.user_profiles.rename(who, whose, "Eve", auth.origin),
        lambda who, whose: auth.user_profiles.set_email(who, whose, NEW, auth.origin),
    ]
    machine = await auth.machines.create(auth.service, "import", [], auth.origin)
    for ask in asked:
        for who in (ada, acting, ANONYMOUS):
            with pytest.raises(PermissionDeniedError):
                await ask(who, account.id)
        for nobody in (machine.id, "nobody", ""):
            with pytest.raises(AccountUnknownError):
                await ask(auth.service, nobody)
