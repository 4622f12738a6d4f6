"""What every store promises, held against all of them."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.audit import AuditRecord
from stylobate.idempotency import Claim, KeyTakenError
from stylobate.ids import new_id
from stylobate.testing.until import until
from stylobate_auth.errors import EmailTakenError
from stylobate_auth.model import (
    Account,
    Revocation,
    RevocationKind,
    Session,
    SessionEnd,
)

from .stores import NOW, add_account, new_account, new_session, open_session, refresh_token, register


async def test_an_account_is_found_by_id_and_address(bench: Any) -> None:
    """What went in comes out, roles sorted; unknown ids and addresses are None."""
    new = new_account(roles=("clerk", "user"))
    account = await add_account(bench.store, new)
    assert await bench.other.account("default", account.id) == account
    found = await bench.other.credentials("default", "ada@example.com", "", NOW)
    assert (found.account, found.password_hash) == (account, "$argon2id$hash")
    assert await bench.store.account("default", new_id()) is None
    assert await bench.store.account("default", "no id") is None
    assert await bench.store.account("default", account.id.upper()) is None
    assert await bench.store.credentials("default", "Ada@example.com", "", NOW) is None
    assert await bench.store.credentials("default", "a\0b", "", NOW) is None


async def test_an_address_stands_once_per_tenant(bench: Any) -> None:
    """The second account of an address is refused with its events; another tenant may have it too."""
    await add_account(bench.store, new_account())
    second = new_account()
    with pytest.raises(EmailTakenError):
        await add_account(bench.store, second, emit=True)
    assert await bench.events() == []
    assert await bench.store.account("default", second.account.id) is None
    await add_account(bench.store, new_account(tenant="another"))


async def test_a_race_for_an_address_has_one_winner(bench: Any) -> None:
    """Two processes that add the same address at the same moment: one gets it."""
    stores = [bench.store, bench.other] * 4
    answers = await asyncio.gather(*(add_account(store, new_account()) for store in stores), return_exceptions=True)
    assert sum(isinstance(answer, Account) for answer in answers) == 1
    assert sum(isinstance(answer, EmailTakenError) for answer in answers) == 7


async def test_tenants_do_not_see_each_other(bench: Any) -> None:
    """No read and no write of one tenant reaches a row of another, though the ids are known."""
    account = await add_account(bench.store, new_account())
    session = new_session(account)
    await open_session(bench.store, session, refresh_token())
    store = bench.store
    assert await store.account("another", account.id) is None
    assert await store.credentials("another", "ada@example.com", "", NOW) is None
    assert await store.credentials_of("another", account.id) is None
    assert await store.session("another", session.id) is None
    assert await store.roles([("another", account.id)], NOW) == ((await store.defined_roles())[0], {})
    async with store.transaction() as transaction:
        assert await transaction.account("another", account.id) is None
        assert await transaction.refresh_tokens([("another", refresh_token().hash)]) == [None]
        assert await transaction.end_session("another", session.id, SessionEnd.LOGOUT, NOW) is None
        assert not await transaction.hold_password_hash("another", account.id, "$argon2id$hash", "stolen")
        assert await transaction.end_sessions("another", account.id, "", SessionEnd.PASSWORD_CHANGED, NOW) == []
    assert await store.session("default", session.id) == session
    assert (await store.credentials("default", "ada@example.com", "", NOW)).password_hash == "$argon2id$hash"


async def test_a_password_hash_is_replaced_only_if_it_is_the_old_one(bench: Any) -> None:
    """A renewed hash never undoes a password that was changed meanwhile."""
    account = await add_account(bench.store, new_account())
    async with bench.store.transaction() as transaction:
        assert not await transaction.hold_password_hash("default", account.id, "another", "lost")
        assert await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "new")
        assert await transaction.hold_password_hash("default", account.id, "new", "new")
    assert (await bench.other.credentials("default", "ada@example.com", "", NOW)).password_hash == "new"
    assert (await bench.other.credentials_of("default", account.id)).password_hash == "new"


async def test_a_held_password_is_not_replaced_under_a_login(bench: Any) -> None:
    """Who opens a session with a password is waited for by who replaces it and ends the sessions, and the other way round."""
    account = await add_account(bench.store, new_account())
    session = new_session(account)
    is_held = asyncio.Event()

    async def log_in() -> None:
        async with bench.store.transaction() as transaction:
            assert await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "$argon2id$hash")
            is_held.set()
            await asyncio.sleep(0.02)  # as long as the other needs to come in between, if it could
            await transaction.open_session(session, refresh_token())

    async def change() -> list[Session]:
        await is_held.wait()
        async with bench.other.transaction() as transaction:
            assert await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "new")
            return await transaction.end_sessions("default", account.id, "", SessionEnd.PASSWORD_CHANGED, NOW)

    _, ended = await asyncio.gather(log_in(), change())
    assert [over.id for over in ended] == [session.id]
    async with bench.store.transaction() as transaction:
        assert not await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "$argon2id$hash")


async def test_a_transaction_happens_whole_or_not_at_all(bench: Any) -> None:
    """An error takes back rows, revocations, events and records alike."""
    new = new_account()
    with pytest.raises(RuntimeError):
        await register(bench.store, new, fail=True)
    assert await bench.store.account("default", new.account.id) is None
    assert not (await bench.store.revocations(None)).entries
    assert (await bench.events(), await bench.records()) == ([], [])
    await register(bench.store, new, fail=False)
    assert await bench.store.account("default", new.account.id) == new.account
    assert len((await bench.store.revocations(None)).entries) == 1
    assert (await bench.events(), await bench.records()) == (["auth.user.registered"], ["auth.register"])


async def test_places_are_remembered(bench: Any) -> None:
    """A place is known until its time, the later of two; of one account and tenant; to every process."""
    account = await add_account(bench.store, new_account())
    await add_account(bench.store, new_account("eve@example.com"))
    later = NOW + timedelta(days=1)
    async with bench.store.transaction() as transaction:
        await transaction.remember_place("default", account.id, "2001:db8::/64", later)
        await transaction.remember_place("default", account.id, "2001:db8::/64", NOW)

    async def is_known(email: str, place: str, now: datetime) -> bool:
        return (await bench.other.credentials("default", email, place, now)).is_known_place

    assert await is_known("ada@example.com", "2001:db8::/64", NOW)
    assert not await is_known("ada@example.com", "2001:db8::/64", later)
    assert not await is_known("ada@example.com", "192.0.2.1", NOW)
    assert not await is_known("ada@example.com", "", NOW)
    assert not await is_known("eve@example.com", "2001:db8::/64", NOW)


async def test_roles_are_told_for_many_at_once(bench: Any) -> None:
    """Who holds none, or is nobody, is left out."""
    clerk = await add_account(bench.store, new_account("clerk@example.com", roles=("clerk", "user")))
    user = await add_account(bench.store, new_account("user@example.com"))
    none = await add_account(bench.store, new_account("none@example.com", roles=()))
    asked = [("default", who) for who in (clerk.id, user.id, none.id, new_id(), "service:cli", "")]
    assert (await bench.store.roles([*asked, ("de\0fault", user.id)], NOW))[1] == {
        ("default", clerk.id): ("clerk", "user"),
        ("default", user.id): ("user",),
    }
    assert await bench.store.roles([], NOW) == ((await bench.store.defined_roles())[0], {})


async def test_the_access_version_rises_with_the_digest(bench: Any) -> None:
    """The same digest changes nothing, whichever process says it; another raises the version by one."""
    first = await bench.store.announce_roles("a")
    assert await bench.other.announce_roles("a") == first
    assert await bench.other.announce_roles("b") == first + 1
    assert (await bench.store.revocations(None)).access_version == first + 1


async def test_revocations_are_listed_while_in_force(bench: Any) -> None:
    """Each kind comes back as it was given; what expired does not; an entry keeps its later expiry."""
    soon, later = datetime.now(UTC) + timedelta(minutes=5), datetime.now(UTC) + timedelta(minutes=9)
    entries = {
        Revocation("default", RevocationKind.SESSION, new_id(), later),
        Revocation("another", RevocationKind.TOKEN, new_id(), soon),
        Revocation("default", RevocationKind.SUBJECT, new_id(), later, not_before=NOW),
    }
    async with bench.store.transaction() as transaction:
        for entry in entries:
            await transaction.revoke(entry)
            await transaction.revoke(replace(entry, expires_at=entry.expires_at - timedelta(minutes=1)))
        await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "old", NOW - timedelta(hours=1)))
    page = await bench.other.revocations(None)
    assert set(page.entries) == entries
    assert abs(page.as_of - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_key_that_changes_again_does_so_later(bench: Any) -> None:
    """Also by who looked at the clock before the other, or has a slow one: whoever heard of the first change hears of this."""
    until = datetime.now(UTC) + timedelta(minutes=9)
    change = Revocation("default", RevocationKind.KEY_CHANGED, new_id(), until, not_before=NOW)
    told = []
    for seconds in (0, -5, 0, 5):
        async with bench.store.transaction() as transaction:
            await transaction.revoke(replace(change, not_before=NOW + timedelta(seconds=seconds)))
        (entry,) = (await bench.other.revocations(None)).entries
        told.append(entry.not_before)
    assert told == sorted(set(told))
    assert told[-1] == NOW + timedelta(seconds=5)


async def test_a_later_look_finds_what_came_after_the_earlier(bench: Any) -> None:
    """A page that goes on from another holds every newer entry, also of a transaction that began before it."""
    slow = Revocation("default", RevocationKind.SESSION, "slow", datetime.now(UTC) + timedelta(minutes=5))
    async with bench.other.transaction() as transaction:
        await transaction.account("default", new_id())  # it has begun
        await transaction.revoke(slow)
        since = NOW if bench.store is bench.other else (await bench.store.revocations(None)).as_of
    assert slow in (await bench.store.revocations(since)).entries


async def test_listeners_hear_of_revocations_and_roles(bench: Any) -> None:
    """Another process's commit calls back; after the context it does not."""
    heard = asyncio.Event()
    async with bench.store.listen(heard.set):
        async with bench.other.transaction() as transaction:
            await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "t", NOW + timedelta(hours=1)))
        await asyncio.wait_for(heard.wait(), 60)
        heard.clear()
        await bench.other.announce_roles("new roles")
        await asyncio.wait_for(heard.wait(), 60)


async def test_pruning_removes_what_expired(bench: Any) -> None:
    """Expired sessions go with their tokens, expired revocations go; everything else stays."""
    account = await add_account(bench.store, new_account())
    old, alive = new_session(account, expires_at=NOW - timedelta(seconds=1)), new_session(account)
    await open_session(bench.store, old, refresh_token("old"))
    await open_session(bench.store, alive, refresh_token("alive"))
    async with bench.store.transaction() as transaction:
        await transaction.remember_place("default", account.id, "192.0.2.1", NOW - timedelta(seconds=1))
        await transaction.remember_place("default", account.id, "192.0.2.2", NOW + timedelta(days=1))
        await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "old", NOW - timedelta(seconds=1)))
        await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "new", NOW + timedelta(hours=1)))
    assert await bench.store.prune(NOW) == 3
    assert await bench.store.prune(NOW) == 0
    assert await bench.store.session("default", old.id) is None
    assert await bench.store.session("default", alive.id) == alive
    gone, stays = await bench.store.refresh_tokens([("default", refresh_token(name).hash) for name in ("old", "alive")])
    assert (gone, stays is None) == (None, False)
    assert await bench.store.prune(NOW + timedelta(days=30)) > 0
    assert await bench.store.refresh_tokens([("default", refresh_token("alive").hash)]) == [None]


async def test_an_account_may_have_to_prove_its_address(bench: Any) -> None:
    """Until it was proven, in whichever way."""
    new = replace(new_account(), must_verify=True)
    account = await add_account(bench.store, new)
    assert (await bench.other.credentials("default", "ada@example.com", "", NOW)).must_verify
    assert (await bench.other.credentials_of("default", account.id)).must_verify
    async with bench.store.transaction() as transaction:
        await transaction.prove_email("default", account.id)
    assert not (await bench.other.credentials_of("default", account.id)).must_verify


async def test_a_password_and_an_address_are_replaced_and_proven(bench: Any) -> None:
    """By who read a mail: whatever the hash was, and in this account alone."""
    account, other = await add_account(bench.store, new_account()), await add_account(bench.store, new_account("eve@example.com"))
    async with bench.store.transaction() as transaction:
        await transaction.replace_password_hash("default", account.id, "new")
        await transaction.prove_email("default", account.id)
    found = await bench.other.credentials_of("default", account.id)
    assert (found.password_hash, found.account.email_verified) == ("new", True)
    assert not (await bench.other.account("default", other.id)).email_verified


async def test_the_relay_is_woken_for_events_only(durable: Any) -> None:
    """A commit with an event wakes the relay, one without does not, and neither does one that failed."""
    await add_account(durable.store, new_account("first@example.com"))
    with pytest.raises(RuntimeError):
        await register(durable.store, new_account(), fail=True)
    assert durable.wakes == 0
    await register(durable.store, new_account(), fail=False)
    assert durable.wakes == 1


async def test_a_note_is_written_soon(bench: Any) -> None:
    """What changed nothing is recorded without a transaction."""
    await bench.store.note(AuditRecord("auth.login"))
    records = await until(bench.records, within_s=60)
    assert records == ["auth.login"]


async def test_an_answer_is_kept_with_the_change(bench: Any) -> None:
    """A key, its answer and the change are committed together or not at all; a key that has an answer is taken."""
    claim = Claim("default", "/", "RegisterUser", "k", b"hash", NOW, NOW + timedelta(hours=1), str.encode)

    async def add_account(email: str, error: Exception | None) -> None:
        async with bench.store.transaction() as transaction:
            await transaction.claim(claim)
            await transaction.add_account(new_account(email))
            await transaction.answer(claim, email)
            if error is not None:
                raise error

    with suppress(RuntimeError):
        await add_account("a@example.com", RuntimeError())
    await add_account("b@example.com", None)
    with pytest.raises(KeyTakenError):
        await add_account("c@example.com", None)
    found = [await bench.store.credentials("default", f"{name}@example.com", "", NOW) is not None for name in "abc"]
    assert found == [False, True, False]


async def test_a_kind_of_a_newer_release_is_passed_on(bench: Any) -> None:
    """What another release revokes is told as it is, not dropped, and stops nothing."""
    newer = Revocation("default", 17, "something", NOW + timedelta(hours=1))
    async with bench.store.transaction() as transaction:
        await transaction.revoke(newer)
        await transaction.revoke(Revocation("default", RevocationKind.KEY, "key-1", NOW + timedelta(hours=1)))
    page = await bench.store.revocations(None)
    assert {(entry.kind, entry.id) for entry in page.entries} == {(17, "something"), (4, "key-1")}
