"""What every store promises of mails and their tokens."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.ids import new_id
from stylobate_auth.errors import EmailTakenError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import (
    Account,
    NewMail,
    UsedMailToken,
)

from .stores import NOW, add_account, new_account


def _mail(account: Account | None, token: bytes = b"token", **changes: Any) -> NewMail:
    whose = account.id if account else None
    kind, until = MailKind.RESET_PASSWORD, NOW + timedelta(hours=1)
    return replace(NewMail("default", new_id(), kind, whose, token.ljust(32, b"."), NOW, until), **changes)


async def _write(store: Any, *mails: NewMail) -> None:
    async with store.transaction() as transaction:
        for mail in mails:
            await transaction.add_mail(mail)


async def test_a_due_mail_is_taken_by_one(bench: Any) -> None:
    """With the account's address of now; nobody else gets it for a time, nor after it is done; one to nobody is never due."""
    account = await add_account(bench.store, new_account())
    mail = _mail(account)
    await _write(bench.store, mail, _mail(None, b"nobody"))
    later = NOW + timedelta(seconds=40)
    taken = await asyncio.gather(bench.store.mails().take(NOW, later, 8), bench.other.mails().take(NOW, later, 8))
    ((due,),) = [mails for mails in taken if mails]
    assert (due.id, due.account_id, due.address, due.name) == (mail.id, account.id, "ada@example.com", "Ada")
    assert (due.kind, due.asked_at, due.expires_at, due.attempts) == (mail.kind, NOW, mail.expires_at, 1)
    (again,) = await bench.other.mails().take(later, later, 8)
    assert again == replace(due, attempts=2)
    await bench.other.mails().delay(again, later + timedelta(seconds=1))
    assert await bench.store.mails().take(later, later, 8) == []
    (again,) = await bench.store.mails().take(later + timedelta(seconds=1), later, 8)
    await bench.store.mails().done(again)
    assert await bench.other.mails().take(NOW + timedelta(days=1), later, 8) == []


async def test_a_mail_is_written_with_what_causes_it_or_not_at_all(bench: Any) -> None:
    """A transaction that fails leaves none."""
    account = await add_account(bench.store, new_account())

    async def fail() -> None:
        async with bench.store.transaction() as transaction:
            await transaction.add_mail(_mail(account))
            await transaction.add_account(new_account())

    with pytest.raises(EmailTakenError):
        await fail()
    assert await bench.store.mails().take(NOW, NOW, 8) == []


async def test_a_token_of_a_mail_is_used_once(bench: Any) -> None:
    """By one of two at the same moment; not of another kind or tenant, after its time, when it was voided, of nobody."""
    account = await add_account(bench.store, new_account())
    mail, voided, late = _mail(account), _mail(account, b"voided"), _mail(account, b"late", expires_at=NOW)
    await _write(bench.store, mail, voided, late, _mail(None, b"nobody"))
    async with bench.store.transaction() as transaction:
        assert await transaction.use_mail_token("default", mail.token_hash, [MailKind.VERIFY_EMAIL], NOW) is None
        assert await transaction.use_mail_token("another", mail.token_hash, [mail.kind], NOW) is None
    queue = bench.other.mails()
    assert await queue.holder("default", mail.token_hash, [mail.kind], NOW) == account.id

    async def use(store: Any) -> UsedMailToken | None:
        async with store.transaction() as transaction:
            return await transaction.use_mail_token("default", mail.token_hash, [mail.kind], NOW)

    answers = await asyncio.gather(use(bench.store), use(bench.other))
    assert sorted(answers, key=bool) == [None, UsedMailToken(account.id, mail.kind)]
    async with bench.store.transaction() as transaction:
        await transaction.void_mail_tokens("another", account.id, [mail.kind], NOW)
        await transaction.void_mail_tokens("default", account.id, [MailKind.VERIFY_EMAIL], NOW)
    assert await queue.holder("default", voided.token_hash, [mail.kind], NOW) == account.id
    async with bench.store.transaction() as transaction:
        await transaction.void_mail_tokens("default", account.id, [mail.kind], NOW)
    for name in (b"token", b"voided", b"late", b"nobody"):
        assert await queue.holder("default", name.ljust(32, b"."), [mail.kind], NOW) is None


async def test_an_account_gets_the_address_that_was_kept_for_it(bench: Any) -> None:
    """Proven; mails go to where it is about; the old one is free, and forgotten when its mail is done."""
    account = await add_account(bench.store, new_account())
    kinds = (MailKind.CHANGE_EMAIL, MailKind.EMAIL_CHANGED, MailKind.PASSWORD_CHANGED)

    async def addresses() -> list[str]:
        await _write(bench.store, *(_mail(account, kind.encode(), kind=kind) for kind in kinds))
        taken = {due.kind: due for due in await bench.other.mails().take(NOW, NOW, 8)}
        for due in taken.values():
            await bench.store.mails().done(due)
        await bench.store.prune(NOW + timedelta(days=1))
        return [taken[kind].address for kind in kinds]

    assert await addresses() == ["", "", "ada@example.com"]
    async with bench.store.transaction() as transaction:
        assert await transaction.hold_account("another", account.id) is None
        assert await transaction.hold_account("default", account.id) == account
        await transaction.rename("default", account.id, "Countess")
        await transaction.keep_new_email("default", account.id, "first@example.org", "first@example.org")
        await transaction.keep_new_email("default", account.id, "Ada@example.org", "ada@example.org")
    assert await addresses() == ["Ada@example.org", "", "ada@example.com"]
    async with bench.other.transaction() as transaction:
        await transaction.take_new_email("default", account.id)
    assert await addresses() == ["", "ada@example.com", "Ada@example.org"]
    assert await addresses() == ["", "", "Ada@example.org"]
    found = await bench.store.credentials("default", "ada@example.org", "", NOW)
    assert found.account == replace(account, email="Ada@example.org", display_name="Countess", email_verified=True)
    await add_account(bench.store, new_account())
    async with bench.store.transaction() as transaction:
        await transaction.keep_new_email("default", account.id, "last@example.org", "last@example.org")
        await transaction.take_new_email("default", account.id, keeps_old=False)
    assert await addresses() == ["", "", "last@example.org"]


async def test_an_address_that_was_kept_may_be_taken_meanwhile(bench: Any) -> None:
    """Also by who registers at this very moment; then all stays."""
    account = await add_account(bench.store, new_account())
    async with bench.store.transaction() as transaction:
        await transaction.keep_new_email("default", account.id, "ada@example.org", "ada@example.org")

    async def take() -> None:
        async with bench.other.transaction() as transaction:
            await transaction.take_new_email("default", account.id)

    answers = await asyncio.gather(take(), add_account(bench.store, new_account("ada@example.org")), return_exceptions=True)
    assert sum(isinstance(answer, EmailTakenError) for answer in answers) == 1
    with pytest.raises(EmailTakenError):
        await take()


async def test_a_voided_mail_is_not_sent_any_more(bench: Any) -> None:
    """Its token would do nothing."""
    account = await add_account(bench.store, new_account())
    await _write(bench.store, _mail(account))
    async with bench.store.transaction() as transaction:
        await transaction.void_mail_tokens("default", account.id, [MailKind.RESET_PASSWORD], NOW)
    assert await bench.other.mails().take(NOW, NOW, 8) == []


async def test_mails_are_pruned_when_they_are_over(bench: Any) -> None:
    """One that is still to be sent stays until somebody has given it up."""
    account = await add_account(bench.store, new_account())
    await _write(bench.store, _mail(account), _mail(None, b"nobody"))
    over = NOW + timedelta(hours=1)
    assert await bench.store.prune(NOW) == 0
    assert await bench.store.prune(over) == 1
    (due,) = await bench.store.mails().take(over, over, 8)
    await bench.store.mails().done(due)
    assert await bench.store.prune(over) == 1
