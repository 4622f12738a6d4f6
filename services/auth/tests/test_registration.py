"""Registering where addresses are proven first: nobody is told who has an account, and nobody is kept out of their own."""

import asyncio
from dataclasses import replace

import pytest
from stylobate.audit import Outcome
from stylobate.testing import FakeClock
from stylobate_auth.errors import AuthInvalidInputError, EmailNotVerifiedError, InvalidCredentialsError
from stylobate_auth.password_hasher import PasswordHasher

from .conftest import PASSWORD, Auth, build

NEW = "another horse and battery"


@pytest.fixture
def auth(clock: FakeClock, hasher: PasswordHasher) -> Auth:
    """Return an auth where whoever registers proves the address first."""
    auth = build(clock, hasher, registration="verified")
    auth.origin = replace(auth.origin, client_address="198.51.100.1")
    return auth


async def _register(auth: Auth, password: str = PASSWORD) -> None:
    assert await auth.accounts.register(auth.draft(password=password), auth.origin) is None


async def test_who_proves_the_address_gets_in(auth: Auth) -> None:
    """Not before, though the password is right; who does not know it is told nothing."""
    await _register(auth)
    with pytest.raises(EmailNotVerifiedError) as refused:
        await auth.login()
    assert refused.value.http_status == 403
    assert (auth.store.records[-1].outcome, auth.store.records[-1].reason) == (Outcome.DENIED, "AUTH_EMAIL_NOT_VERIFIED")
    with pytest.raises(InvalidCredentialsError):
        await auth.login(password="a guess")
    await auth.profiles.verify(await auth.post.token(), auth.origin)
    account, _ = await auth.accounts.login("ada@example.com", PASSWORD, auth.origin)
    assert account.email_verified
    types = [event.type for event in auth.store.events]
    assert types == ["auth.user.registered", "auth.user.email_verified", "auth.session.opened"]


async def test_who_has_an_account_is_told_by_mail(auth: Auth) -> None:
    """And nobody else; the account stays as it is."""
    await _register(auth)
    await auth.profiles.verify(await auth.post.token(), auth.origin)
    await _register(auth, NEW)
    (mail,) = await auth.post.mails()
    assert mail.subject == "You have an account of Shop"
    await auth.login()
    with pytest.raises(InvalidCredentialsError):
        await auth.login(password=NEW)


async def test_who_registered_with_anothers_address_gets_nothing_of_it(auth: Auth) -> None:
    """The owner of the mailbox registers later, chooses a password by mail, and the stranger's is none."""
    await _register(auth, "a stranger's password")
    await auth.post.mails()  # its owner did not ask for it, and does nothing
    await _register(auth)
    (mail,) = await auth.post.mails()
    assert mail.subject == "Choose a new password for Shop"
    await auth.passwords.reset(mail.text.partition("#")[2].split()[0], NEW, auth.origin)
    assert (await auth.accounts.login("ada@example.com", NEW, auth.origin))[0].email_verified
    with pytest.raises(InvalidCredentialsError):
        await auth.login(password="a stranger's password")


async def test_a_forgotten_password_proves_the_address_too(auth: Auth) -> None:
    """So no mail that was lost keeps anybody out."""
    await _register(auth)
    await auth.post.mails()
    await auth.passwords.forgot("ada@example.com", auth.origin)
    await auth.passwords.reset(await auth.post.token(), NEW, auth.origin)
    await auth.login(password=NEW)


async def test_of_two_at_the_same_moment_one_makes_the_account(auth: Auth) -> None:
    """Both are answered the same."""
    await asyncio.gather(*(_register(auth) for _ in range(4)))
    assert [event.type for event in auth.store.events] == ["auth.user.registered"]
    outcomes = [record.outcome for record in auth.store.records]
    assert (outcomes.count(Outcome.SUCCESS), outcomes.count(Outcome.DENIED)) == (1, 3)


async def test_a_mailbox_is_not_drowned(auth: Auth) -> None:
    """Who registers again and again is answered the same, and three mails go out."""
    for _ in range(10):
        await _register(auth)
    assert len(await auth.post.mails()) == 3


async def test_bad_data_is_said_as_ever(auth: Auth) -> None:
    """What is wrong with a form tells nothing of anybody."""
    with pytest.raises(AuthInvalidInputError):
        await _register(auth, "trustno1")


async def test_who_is_made_by_an_administrator_gets_in_at_once(auth: Auth) -> None:
    """Whoever made the account answers for the address."""
    await auth.accounts.create(auth.service, auth.draft(), auth.origin)
    await auth.login()
