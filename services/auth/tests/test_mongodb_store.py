"""What the MongoDB adapter owes beside the port's contract: who meets others waits and is not refused, and indexes are used."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest
from stylobate.ids import new_id
from stylobate_auth.grant import Grant, GrantQuery, GrantQuestion
from stylobate_auth.model import Revocation, RevocationKind, SessionEnd
from stylobate_auth.refresh_token import RefreshToken
from stylobate_auth.role import HeldRole
from stylobate_auth.store.mongodb.grants import _end_of
from stylobate_auth.user import UserPlace, UserQuery

from .stores import NOW, MongoStores, add_account, new_account, new_session, open_session, record, refresh_token, rotation

_AT_ONCE = 20
"""Transactions."""


async def _all(work: list[Coroutine[Any, Any, Any]]) -> list[BaseException]:
    """Do the work in an order that is nobody's; return what failed."""
    order = [work[(number * 97) % len(work)] for number in range(len(work))]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def at_its_turn(one: Coroutine[Any, Any, Any]) -> None:
        async with turn:
            await one

    answers = await asyncio.gather(*map(at_its_turn, order), return_exceptions=True)
    return [answer for answer in answers if isinstance(answer, BaseException)]


async def test_refreshing_ending_and_pruning_refuse_nobody(mongodb: MongoStores) -> None:
    """Sessions that are refreshed alone and in batches, ended and removed at the same moment: every one waits its turn."""
    account = await add_account(mongodb.store, new_account())
    sessions = [new_session(account, expires_at=NOW + timedelta(seconds=number)) for number in range(40)]
    for number, session in enumerate(sessions):
        await open_session(mongodb.store, session, refresh_token(str(number)))

    async def refresh(number: int) -> None:
        async with mongodb.other.transaction() as transaction:
            await transaction.rotate_refresh([rotation(sessions[number], str(number), f"alone {number}")])
            await asyncio.sleep(0)

    async def refresh_all(turn: int) -> None:
        """As a batch does: of sessions in the order in which they came, which is no other's."""
        numbers = [(turn * 11 + at * 7) % len(sessions) for at in range(20)]
        rotations = [(rotation(sessions[number], str(number), f"{turn} {number}"), record()) for number in numbers]
        await mongodb.store.rotate(rotations)

    async def end_all() -> None:
        async with mongodb.store.transaction() as transaction:
            await transaction.end_sessions("default", account.id, "", SessionEnd.REVOKED, NOW + timedelta(seconds=20))
            await asyncio.sleep(0)

    async def end(number: int) -> None:
        async with mongodb.other.transaction() as transaction:
            await transaction.end_session("default", sessions[number].id, SessionEnd.LOGOUT, NOW)
            await transaction.revoke(Revocation("default", RevocationKind.SESSION, sessions[number].id, NOW))

    numbers = range(len(sessions))
    work = [refresh(number) for number in numbers] + [end(number) for number in reversed(numbers)]
    work += [mongodb.store.prune(NOW + timedelta(seconds=10)) for _ in range(8)] + [refresh_all(turn) for turn in range(8)]
    work += [end_all() for _ in range(5)]
    assert await _all(work) == []


async def test_who_changes_the_same_waits(mongodb: MongoStores) -> None:
    """Roles of one account and the one version of all decisions: each change counts."""
    people = [await add_account(mongodb.store, new_account(f"{number}@example.com")) for number in range(3)]
    before, _ = await mongodb.store.defined_roles()

    async def give(number: int) -> None:
        store = (mongodb.store, mongodb.other)[number % 2]
        async with store.transaction() as transaction:
            person = await transaction.hold_account("default", people[number % 3].id)
            await transaction.put_held_role("default", person.id, HeldRole(f"role {number}"))
            await transaction.change_access()

    assert await _all([give(number) for number in range(12)]) == []
    version, _ = await mongodb.other.defined_roles()
    assert version == before + 12
    assert sum([len(await mongodb.store.held_roles("default", person.id)) for person in people]) == 12 + len(people)


async def test_who_takes_one_thing_and_then_another_waits_too(mongodb: MongoStores) -> None:
    """Disabling holds administrators and then the account, enabling only the account: nobody is told to come again."""
    person = await add_account(mongodb.store, new_account())

    async def disable() -> None:
        async with mongodb.store.transaction() as transaction:
            await transaction.hold_administrators("default")
            await transaction.hold_user("default", person.id)
            await transaction.set_disabled("default", person.id, NOW)

    async def enable() -> None:
        async with mongodb.other.transaction() as transaction:
            await transaction.hold_user("default", person.id)
            await transaction.set_disabled("default", person.id, None)

    assert await _all([work() for _ in range(8) for work in (disable, enable)]) == []


async def test_a_document_of_another_shape_is_refused(mongodb: MongoStores) -> None:
    """By the server: what a defect would write for all releases to read."""
    with pytest.raises(Exception, match="failed validation"):
        await mongodb.database.insert("session", [{"_id": new_id(), "tenant": "default"}])


def test_the_end_of_what_begins_with_a_prefix() -> None:
    """The first text behind all of them, as bytes are ordered."""
    assert [_end_of(prefix) for prefix in ("state/", "a\ud7ff", "a\U0010ffff", "\U0010ffff", "")] == [
        "state0",
        "a\ue000",
        "b",
        None,
        None,
    ]


async def test_every_question_has_an_index(mongodb: MongoStores) -> None:
    """Nothing that is asked often reads a whole collection: mongod is told to refuse what would."""
    store, database = mongodb.store, mongodb.database
    account = await add_account(store, new_account())
    session = new_session(account)
    await open_session(store, session, refresh_token())
    async with store.transaction() as transaction:
        await transaction.put_grant(Grant("default", account.id, "orders:read", "state/orders/1", None, NOW, "root"))
        await transaction.revoke(Revocation("default", RevocationKind.SESSION, session.id, NOW + timedelta(hours=1)))
    await database.command({"setParameter": 1, "notablescan": True}, on_admin=True)
    try:
        place = UserPlace(NOW, account.id)
        for query in (UserQuery(), UserQuery(email="ada@example.com"), UserQuery(role="user"), UserQuery("", "", NOW, NOW)):
            for after in (None, place):
                await store.users("default", query, after, 10)
        await store.users_by_id("default", [account.id])
        await store.credentials("default", "ada@example.com", "192.0.2.1", NOW)
        await store.roles([("default", account.id)], NOW)
        await store.sessions("default", account.id, NOW, "", 10)
        assert (await store.refresh_tokens([("default", refresh_token().hash)]))[0] is not None
        question = GrantQuestion("default", (account.id, "role:user"), ("orders:read", "*"), ("state/orders/1",))
        assert await store.granted([question], NOW, 10) == [["state/orders/1"]]
        assert len((await store.covering_grants([question], NOW))[0]) == 1
        assert await store.granted_under(question, "state/", "", NOW, 10) == ["state/orders/1"]
        for query in (
            GrantQuery(),
            GrantQuery(account.id),
            GrantQuery("", "orders:read", "state/"),
            GrantQuery("", "", "state/a"),
        ):
            await store.grants("default", query, None, NOW, 10)
        await store.revocations(NOW)
        await store.service_accounts("default", "", 10)
        await store.api_keys("default", account.id, "", 10)
        await store.public_keys("default", account.id)
        await store.account_texts(("", ""), 10)
        await store.next_grant_end()
        await store.next_role_end()
        await store.prune(NOW)
        await store.mails().take(NOW, NOW, 1)
        await store.take_deletions(NOW, NOW, 1)
        for part in ("sessions", "grants", "api_keys", "mails", "login_places"):
            await store.kept("default", account.id, part, "", 10)
        async with store.transaction() as transaction:
            await transaction.hold_administrators("default")
            await transaction.remove_defined_role("default", "clerk")
            await transaction.end_roles(NOW, 1)
            await transaction.end_grants(NOW, 1)
            await transaction.take_failed_logins(NOW, 1)
            await transaction.end_sessions("default", account.id, "", SessionEnd.REVOKED, NOW)
            await transaction.void_mail_tokens("default", account.id, [], NOW)
            await transaction.begin_deletion("default", account.id, NOW)
    finally:
        await database.command({"setParameter": 1, "notablescan": False}, on_admin=True)


async def test_a_token_of_another_tenant_is_not_found(mongodb: MongoStores) -> None:
    """Though hashes are keys of all tenants."""
    account = await add_account(mongodb.store, new_account())
    token = RefreshToken(b"t" * 32, NOW, NOW + timedelta(days=1))
    await open_session(mongodb.store, new_session(account), token)
    assert await mongodb.store.refresh_tokens([("another", token.hash)]) == [None]
