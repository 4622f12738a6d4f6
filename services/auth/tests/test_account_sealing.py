"""Addresses and names of accounts at rest: what the database has of them, who finds them, and what tampering comes to."""

from datetime import timedelta
from typing import Any

import pytest
from stylobate.database.mongodb import MongoManager
from stylobate.ids import new_id
from stylobate_auth.account_input import check_address, check_name
from stylobate_auth.account_reencryptor import AccountReencryptor
from stylobate_auth.account_sealing import NO_SEALING, PURPOSE
from stylobate_auth.errors import AccountUnreadableError, EmailTakenError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import NewMail
from stylobate_auth.user import UserQuery

from .stores import NOW, add_account, new_account, sealing

ADDRESSES = ("ada@example.com", "new@example.com")


@pytest.fixture
def database(durable: Any) -> Any:
    """Give the database itself."""
    return durable.database


@pytest.fixture
def store_with(durable: Any) -> Any:
    """Give what makes a store, as a process with some setting has it."""
    return durable.with_sealing


@pytest.fixture
def store(database: Any, store_with: Any) -> Any:
    """Give one that seals."""
    return store_with(sealing(database))


async def kept(database: Any) -> str:
    """Return all that a database of auth has."""
    if isinstance(database, MongoManager):
        collections = await database.command({"listCollections": 1, "filter": {"type": "collection"}, "nameOnly": True})
        names = [one["name"] for one in collections["cursor"]["firstBatch"]]
        return "\n".join([str(document) for name in names for document in await database.find(name, {})])
    tables = await database.fetch("select tablename from pg_tables where schemaname = current_schema()")
    rows = [await database.fetch(f'select t::text from "{table}" t') for (table,) in tables]
    return "\n".join(row[0] or "" for found in rows for row in found)


async def stored(database: Any, account_id: str, member: str) -> str:
    """Return what stands in an account's row."""
    if isinstance(database, MongoManager):
        return str((await database.find_one("account", {"_id": account_id}))[member])
    return str(await database.fetchval(f"select {member} from account where id = $1", account_id))


async def store_as(database: Any, account_id: str, member: str, text: str) -> None:
    """Put something else there."""
    if isinstance(database, MongoManager):
        await database.update_one("account", {"_id": account_id}, {"$set": {member: text}})
    else:
        await database.execute(f"update account set {member} = $2 where id = $1", account_id, text)


async def test_the_database_has_no_address_and_no_name(database: Any, store: Any) -> None:
    """Not after registering, renaming, changing the address, nor with mails under way; all who may know do."""
    account = await add_account(store, new_account())
    async with store.transaction() as transaction:
        await transaction.rename("default", account.id, "Ada Lovelace")
        await transaction.keep_new_email("default", account.id, *["new@example.com"] * 2)
        for kind in (MailKind.CHANGE_EMAIL, MailKind.RESET_PASSWORD):
            mail = NewMail("default", new_id(), kind, account.id, kind.encode().ljust(32), NOW, NOW + timedelta(hours=1))
            await transaction.add_mail(mail)
    everything = await kept(database)
    assert "sealed.1." in everything
    for text in (*ADDRESSES, "Lovelace", "Ada"):
        assert text not in everything, text
    due = await store.mails().take(NOW, NOW + timedelta(minutes=1), 10)
    assert {(mail.address, mail.name) for mail in due} == {(address, "Ada Lovelace") for address in ADDRESSES}
    async with store.transaction() as transaction:
        await transaction.take_new_email("default", account.id)
    found = await store.credentials("default", "new@example.com", "", NOW)
    assert (found.account.email, found.account.display_name) == ("new@example.com", "Ada Lovelace")
    assert await store.credentials("default", "ada@example.com", "", NOW) is None
    assert (await store.user("default", account.id)).email == "new@example.com"
    assert [user.id for user in await store.users("default", UserQuery(email="new@example.com"), None, 9)] == [account.id]
    assert "new@example.com" not in await kept(database)


@pytest.mark.parametrize("was_sealed", [True, False])
async def test_an_address_is_taken_once(database: Any, store_with: Any, was_sealed: bool) -> None:
    """By an account that is sealed and by one that is not yet, for new accounts and for other addresses."""
    plain, sealed = store_with(sealing(database, seals=False)), store_with(sealing(database))
    first, second = (sealed, plain) if was_sealed else (plain, sealed)
    await add_account(first, new_account())
    with pytest.raises(EmailTakenError):
        await add_account(second, new_account())
    other = await add_account(second, new_account("bob@example.com"))
    async with second.transaction() as transaction:
        await transaction.keep_new_email("default", other.id, *["ada@example.com"] * 2)
    with pytest.raises(EmailTakenError):
        async with second.transaction() as transaction:
            await transaction.take_new_email("default", other.id)
    for store in (plain, sealed):
        assert (await store.credentials("default", "ada@example.com", "", NOW)).account.email == "ada@example.com"


async def test_swapped_addresses_are_refused_and_harm_nobody_else(database: Any, store: Any) -> None:
    """Nor does a name stand in for an address."""
    ada, bob, eve = [await add_account(store, new_account(f"{name}@example.com")) for name in ("ada", "bob", "eve")]
    emails = [await stored(database, account.id, "email") for account in (bob, ada)]
    for account, email in zip((ada, bob), emails, strict=True):
        await store_as(database, account.id, "email", email)
    for account in (ada, bob):
        with pytest.raises(AccountUnreadableError):
            await store.user("default", account.id)
        with pytest.raises(AccountUnreadableError):
            await store.credentials("default", account.email, "", NOW)
    assert (await store.user("default", eve.id)).email == "eve@example.com"
    assert [user.email for user in await store.users("default", UserQuery(), None, 9)] == ["", "", "eve@example.com"]
    await store_as(database, eve.id, "email", await stored(database, eve.id, "display_name"))
    with pytest.raises(AccountUnreadableError):
        await store.user("default", eve.id)


async def test_without_a_key_nothing_is_opened(store: Any, store_with: Any) -> None:
    """A process that lacks it does not take ciphertext for an address."""
    account = await add_account(store, new_account())
    with pytest.raises(AccountUnreadableError):
        await store_with(NO_SEALING).user("default", account.id)


async def test_a_name_that_was_cut_off_stops_nobody_from_being_encrypted_anew(database: Any, store: Any) -> None:
    """The account is named; the others go on."""
    ada, bob = [await add_account(store, new_account(f"{name}@example.com")) for name in ("ada", "bob")]
    await store_as(database, ada.id, "display_name", "sealed.1.ab")
    found = sealing(database)
    await found.keys.rotate(PURPOSE)
    step = await AccountReencryptor(store, found).step("")
    assert (step.looked, step.reencrypted, step.unreadable) == (2, 1, [ada.id])
    assert (await store.user("default", bob.id)).display_name == "Ada"


def test_nobody_is_called_as_what_is_sealed() -> None:
    """Where accounts are stored in the clear, nobody could read theirs, nor an administrator see who it is."""
    assert [finding.pointer for finding in check_name("sealed.1.ab")[1]] == ["/display_name"]
    assert [finding.pointer for finding in check_address("sealed.1.ab@example.com", allow_test_domains=False)[2]] == ["/email"]
    assert check_name("Sealed.1")[1] == []
