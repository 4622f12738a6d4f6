"""A forgotten password: a mail to its owner, and another password by it."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.audit import Outcome
from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.errors import TokenRevokedError
from stylobate_auth.errors import AuthInvalidInputError, InvalidCredentialsError, MailTokenInvalidError, NoMailError
from stylobate_auth.password_hasher import PasswordHasher

from .conftest import PASSWORD, Auth, build

NEW = "another horse and battery"


@pytest.fixture
def auth(auth: Auth) -> Auth:
    """Return an auth that is called from one place, which an account knows after its first login."""
    auth.origin = replace(auth.origin, client_address="198.51.100.1")
    return auth


async def _forget(auth: Auth, email: str = "ada@example.com") -> str:
    await auth.passwords.forgot(email, auth.origin)
    return await auth.post.token()


async def test_a_mail_brings_another_password(auth: Auth) -> None:
    """The old password and every session end; the address is proven by it; then a notice follows."""
    await auth.register(display_name="Ada")
    tokens = await auth.login()
    token = await _forget(auth, " ADA@example.com ")
    (mail,) = auth.post.sent
    assert (mail.to, mail.subject) == ("ada@example.com", "Choose a new password for Shop")
    assert f"https://shop.example/reset#{token}" in mail.text
    await auth.passwords.reset(token, NEW, auth.origin)
    with pytest.raises(TokenRevokedError):
        await auth.accounts.me(auth.principal(tokens))
    with pytest.raises(InvalidCredentialsError):
        await auth.login()
    account, _ = await auth.accounts.login("ada@example.com", NEW, auth.origin)
    assert account.email_verified
    (notice,) = await auth.post.mails()
    assert notice.subject == "Your password for Shop was changed"
    actions = [record.action for record in auth.store.records if record.outcome is not Outcome.DENIED]
    assert actions == ["auth.register", "auth.login", "auth.password.forgot", "auth.password.reset", "auth.login"]
    assert [record.actor for record in auth.store.records[2:4]] == ["", account.id]


async def test_a_token_works_once(auth: Auth) -> None:
    """Not twice, not for two at once, and no other of the account's after it."""
    await auth.register()
    first, second = await _forget(auth), await _forget(auth)
    answers = await asyncio.gather(
        *(auth.passwords.reset(first, f"{NEW} {number}", auth.origin) for number in range(3)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["MailTokenInvalidError", "MailTokenInvalidError", "NoneType"]
    for token in (first, second):
        with pytest.raises(MailTokenInvalidError):
            await auth.passwords.reset(token, NEW, auth.origin)
    assert [event.type for event in auth.store.events].count("auth.user.password_changed") == 1


async def test_a_token_ends_with_its_time_and_with_another_password(auth: Auth) -> None:
    """Who changed the password need not fear an older mail."""
    await auth.register()
    late = await _forget(auth)
    auth.clock.advance(timedelta(hours=1))
    old = await _forget(auth)
    tokens = await auth.login()
    await auth.passwords.change(auth.principal(tokens), PASSWORD, NEW, auth.origin)
    for token in (late, old):
        with pytest.raises(MailTokenInvalidError):
            await auth.passwords.reset(token, PASSWORD, auth.origin)


@pytest.mark.parametrize("token", ["", "x", "é", "a" * 512, "A" * 43, "\0"])
async def test_a_made_up_token_is_none(auth: Auth, token: str) -> None:
    """Whatever its form."""
    await auth.register()
    await _forget(auth)
    with pytest.raises(MailTokenInvalidError):
        await auth.passwords.reset(token, NEW, auth.origin)


async def test_a_refused_password_leaves_the_token(auth: Auth) -> None:
    """Who types a bad one tries again with the same mail."""
    await auth.register()
    token = await _forget(auth)
    for bad in ("short", "trustno1", "ada@example.com"):
        with pytest.raises(AuthInvalidInputError) as refused:
            await auth.passwords.reset(token, bad, auth.origin)
        assert [violation.pointer for violation in refused.value.violations] == ["/new_password"]
    await auth.passwords.reset(token, NEW, auth.origin)


@pytest.mark.parametrize("email", ["nobody@example.com", "not an address", "", "a\0@example.com"])
async def test_nobody_is_told_who_has_an_account(auth: Auth, email: str) -> None:
    """An address without an account is answered as one with: the same steps, a row, a record, no mail."""
    steps: list[str] = []
    transaction = auth.store.transaction

    def watched() -> Any:
        steps.append("transaction")
        return transaction()

    auth.store.transaction = watched  # type: ignore[method-assign]
    await auth.passwords.forgot(email, auth.origin)
    assert steps == ["transaction"]
    assert len(auth.store._tables.mails) == 1
    assert [record.action for record in auth.store.records] == ["auth.password.forgot"]
    assert await auth.post.mails() == []


async def test_a_stranger_who_asks_again_and_again_locks_nobody_out(auth: Auth) -> None:
    """Three mails within the hour and no more; the answer stays the same, and the last mail's token works when no more comes."""
    await auth.register()
    token = ""
    for minute in range(100):
        address = f"203.0.113.{minute}"
        await auth.passwords.forgot("ada@example.com", replace(auth.origin, client_address=address))
        if mails := await auth.post.mails():
            token = mails[-1].text.partition("#")[2].split()[0]
        auth.clock.advance(timedelta(minutes=1))
        holder = await auth.store.mails().holder("default", auth.post.tokens.hash(token), ["reset_password"], auth.clock())
        assert holder is not None
    assert len(auth.post.sent) == 3 + 4
    await auth.passwords.reset(token, NEW, auth.origin)


async def test_an_address_is_limited(auth: Auth) -> None:
    """Whoever asks for many accounts' mails from one place, or tries tokens, is told to wait."""
    origin = replace(auth.origin, client_address="203.0.113.1")
    with pytest.raises(RateLimitedError):
        await _often(lambda number: auth.passwords.forgot(f"someone-{number}@example.com", origin))
    with pytest.raises(RateLimitedError):
        await auth.passwords.reset("made up", NEW, origin)


async def _often(ask: Any) -> None:
    for number in range(40):
        await ask(number)


async def test_without_mail_it_is_said(clock: Any, hasher: PasswordHasher) -> None:
    """Nothing is promised that is not done; a change of password goes without its notice."""
    auth = build(clock, hasher, has_mail=False)
    await auth.register()
    with pytest.raises(NoMailError) as refused:
        await auth.passwords.forgot("ada@example.com", auth.origin)
    assert refused.value.http_status == 409
    await auth.passwords.change(auth.principal(await auth.login()), PASSWORD, NEW, auth.origin)
    assert auth.store._tables.mails == {}


async def test_no_secret_is_kept_of_a_mail(auth: Auth) -> None:
    """Neither token nor address: what is kept of a mail is whose it is and a hash."""
    await auth.register()
    token = await _forget(auth)
    kept = repr(auth.store._tables.mails) + repr(auth.store.records) + repr([event.value() for event in auth.store.events])
    assert token not in kept
    assert "example.com" not in kept
