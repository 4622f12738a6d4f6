"""The name and the address of an account, changed by its owner."""

from typing import Any

import pytest
from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.errors import TokenRevokedError, UnauthenticatedError
from stylobate.identity import ANONYMOUS
from stylobate_auth.errors import (
    AuthInvalidInputError,
    EmailTakenError,
    MailTokenInvalidError,
    NoMailError,
    PasswordWrongError,
)
from stylobate_auth.model import Tokens
from stylobate_auth.password_hasher import PasswordHasher

from .conftest import PASSWORD, Auth, build

NEW = "ada@example.org"


@pytest.fixture
async def mine(auth: Auth) -> Tokens:
    """Return a session of an account."""
    await auth.register(display_name="Ada")
    return await auth.login()


async def _ask(auth: Auth, tokens: Tokens, email: str = NEW) -> None:
    await auth.profiles.change_email(auth.principal(tokens), email, PASSWORD, auth.origin)


async def test_a_name_is_changed(auth: Auth, mine: Tokens) -> None:
    """It is told at once, and an event and a record name the account and neither of the names."""
    account = await auth.profiles.rename(auth.principal(mine), " Countess ", auth.origin)
    assert account.display_name == "Countess"
    assert await auth.accounts.me(auth.principal(mine)) == account
    event, record = auth.store.events[-1], auth.store.records[-1]
    assert (event.type, event.value()) == ("auth.user.changed", {"user_id": account.id})
    assert (record.action, record.target) == ("auth.account.change", f"user:{account.id}")
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.profiles.rename(auth.principal(mine), "a\u202eb", auth.origin)
    assert [violation.pointer for violation in refused.value.violations] == ["/display_name"]


async def test_an_address_is_proven_by_its_mail(auth: Auth, mine: Tokens) -> None:
    """Once; asked again where it is proven nothing is sent."""
    await auth.profiles.request_verification(auth.principal(mine), auth.origin)
    token = await auth.post.token()
    await auth.profiles.verify(token, auth.origin)
    assert (await auth.accounts.me(auth.principal(mine))).email_verified
    assert (auth.store.events[-1].type, auth.store.records[-1].action) == ("auth.user.email_verified", "auth.email.verify")
    with pytest.raises(MailTokenInvalidError):
        await auth.profiles.verify(token, auth.origin)
    await auth.profiles.request_verification(auth.principal(mine), auth.origin)
    assert await auth.post.mails() == []


async def test_another_address_counts_once_its_mailbox_was_read(auth: Auth, mine: Tokens) -> None:
    """Until then all stays; then it logs in, the old one does not, and is told by mail."""
    await _ask(auth, mine)
    token = await auth.post.token()
    (mail,) = auth.post.sent
    assert (mail.to, mail.subject) == (NEW, "Confirm your new address for Shop")
    assert (await auth.accounts.login("ada@example.com", PASSWORD, auth.origin))[0].email == "ada@example.com"
    await auth.profiles.verify(token, auth.origin)
    account, _ = await auth.accounts.login(NEW, PASSWORD, auth.origin)
    assert (account.email, account.email_verified) == (NEW, True)
    assert await auth.accounts.me(auth.principal(mine)) == account
    (notice,) = await auth.post.mails()
    assert (notice.to, notice.subject) == ("ada@example.com", "Your account of Shop has another address")
    assert auth.store._tables.old_emails == {}
    assert "auth.user.email_changed" in [event.type for event in auth.store.events]
    await auth.register("ada@example.com")  # it is free


async def test_the_old_mailbox_is_no_way_in(auth: Auth, mine: Tokens) -> None:
    """Tokens that were sent to the address that an account had do nothing any more; neither does an older request."""
    await auth.passwords.forgot("ada@example.com", auth.origin)
    forgotten = await auth.post.token()
    await _ask(auth, mine, "first@example.org")
    first = await auth.post.token()
    await _ask(auth, mine)
    second = await auth.post.token()
    with pytest.raises(MailTokenInvalidError):
        await auth.profiles.verify(first, auth.origin)
    await auth.profiles.verify(second, auth.origin)
    with pytest.raises(MailTokenInvalidError):
        await auth.passwords.reset(forgotten, "another horse and battery", auth.origin)
    assert (await auth.accounts.me(auth.principal(mine))).email == NEW


async def test_nobody_is_told_whose_an_address_is(auth: Auth, mine: Tokens) -> None:
    """Asked for another's address all looks the same; its owner gets a mail, and nothing changes."""
    await auth.register(NEW)
    await _ask(auth, mine)
    (mail,) = await auth.post.mails()
    assert (mail.to, mail.subject) == (NEW, "You have an account of Shop")
    assert auth.store._tables.new_emails == {}


async def test_who_was_quicker_has_the_address(auth: Auth, mine: Tokens) -> None:
    """Registered between the mail and its token."""
    await _ask(auth, mine)
    token = await auth.post.token()
    await auth.register(NEW)
    with pytest.raises(EmailTakenError):
        await auth.profiles.verify(token, auth.origin)
    assert (await auth.accounts.me(auth.principal(mine))).email == "ada@example.com"


@pytest.mark.parametrize("email", ["no address", "", "ada@example.com", "ada@example.test", "a" * 250 + "@example.com"])
async def test_a_bad_address_is_refused_at_its_field(auth: Auth, mine: Tokens, email: str) -> None:
    """As at registration; and so is the one that it has."""
    with pytest.raises(AuthInvalidInputError) as refused:
        await _ask(auth, mine, email)
    assert [violation.pointer for violation in refused.value.violations] == ["/email"]


async def test_a_token_alone_is_not_enough(auth: Auth, mine: Tokens) -> None:
    """The address is what a password is reset by: who changes it proves to know the password."""
    with pytest.raises(PasswordWrongError):
        await auth.profiles.change_email(auth.principal(mine), NEW, "a guess", auth.origin)
    assert (auth.store.records[-1].action, auth.store.records[-1].reason) == ("auth.email.change", "AUTH_PASSWORD_WRONG")
    await auth.sessions.logout(auth.principal(mine), auth.origin)
    for ask in (
        auth.profiles.rename(auth.principal(mine), "Ada", auth.origin),
        auth.profiles.request_verification(auth.principal(mine), auth.origin),
        auth.profiles.change_email(auth.principal(mine), NEW, PASSWORD, auth.origin),
    ):
        with pytest.raises(TokenRevokedError):
            await ask
    with pytest.raises(UnauthenticatedError):
        await auth.profiles.rename(ANONYMOUS, "Ada", auth.origin)


async def test_mailboxes_are_not_drowned(auth: Auth, mine: Tokens) -> None:
    """Three mails within the hour, whoever the owner wants to write to."""
    for _ in range(3):
        await auth.profiles.request_verification(auth.principal(mine), auth.origin)
    with pytest.raises(RateLimitedError):
        await auth.profiles.request_verification(auth.principal(mine), auth.origin)


async def test_without_mail_it_is_said(clock: Any, hasher: PasswordHasher) -> None:
    """Nothing is promised that is not done."""
    auth = build(clock, hasher, has_mail=False)
    await auth.register()
    tokens = await auth.login()
    with pytest.raises(NoMailError):
        await auth.profiles.request_verification(auth.principal(tokens), auth.origin)
    with pytest.raises(NoMailError):
        await auth.profiles.change_email(auth.principal(tokens), NEW, PASSWORD, auth.origin)
