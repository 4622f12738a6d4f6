"""What the PostgreSQL adapter owes beside the port's contract: locks in one order, nothing in the server's log, keys migrated."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stylobate.audit import AuditTrail
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import MigrationSet
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.outbox.postgres import PostgresOutbox
from stylobate.testing.until import until
from stylobate_auth.account_input import email_key
from stylobate_auth.errors import EmailTakenError
from stylobate_auth.model import Account, NewAccount, Revocation, RevocationKind, Session, SessionEnd
from stylobate_auth.refresh_token import RefreshToken, Rotation
from stylobate_auth.store.postgres import PostgresAuthStore
from stylobate_auth.store.postgres.grants import _COVERING, _GRANTED
from stylobate_auth.store.postgres.refresh import _FIND

SETS = (
    MigrationSet.of("outbox", "stylobate.outbox"),
    MigrationSet.of("idempotency", "stylobate.idempotency"),
    MigrationSet.of("audit", "stylobate.audit"),
    MigrationSet.of("auth", "stylobate_auth.store"),
)
NOW = datetime.now(UTC)
_AT_ONCE = 40
"""Transactions: some for each connection of the pool."""


@pytest.fixture
async def database(database_for: Any) -> Any:
    """Return a migrated database."""
    return await database_for("auth", *SETS)


@pytest.fixture
async def store(database: Any) -> Any:
    """Return the store."""
    async with AuditTrail.open(PostgresAuditStore(database), "auth") as trail:
        yield PostgresAuthStore(database, PostgresOutbox("auth"), trail, PostgresIdempotencyLedger(database))


def _account(email: str = "ada@example.com") -> NewAccount:
    return NewAccount(Account("default", new_id(), email, "Ada", ("user",), False, NOW), email, "$argon2id$hash")


async def test_the_time_is_the_databases(postgres: Any) -> None:
    """What is removed because it is over is so by one clock, whichever process removes it."""
    before, found, after = [
        await postgres.database.fetchval("select clock_timestamp()"),
        await postgres.store.now(),
        await postgres.database.fetchval("select clock_timestamp()"),
    ]
    assert before < found < after


async def test_refreshing_ending_and_pruning_never_wait_for_each_other(store: Any) -> None:
    """Hundreds of sessions that are refreshed, ended and removed at the same moment: no deadlock, whatever comes first."""
    account = _account()
    async with store.transaction() as transaction:
        await transaction.add_account(account)
    sessions = []
    for number in range(150):
        session = Session("default", new_id(), account.account.id, NOW, NOW + timedelta(seconds=number), NOW)
        token = RefreshToken(number.to_bytes(32, "big"), NOW, NOW + timedelta(days=30))
        async with store.transaction() as transaction:
            await transaction.open_session(session, token)
        sessions.append((session, token))

    async def refresh(session: Session, token: RefreshToken) -> None:
        new = RefreshToken(bytes([255, *token.hash[1:]]), NOW, NOW + timedelta(days=30))
        async with store.transaction() as transaction:
            await transaction.rotate_refresh([Rotation(session, token, new, b"s" * 32)])
            await asyncio.sleep(0)

    async def refresh_all(number: int) -> None:
        """As a batch does: of sessions in the order in which they came, which is no other's."""
        rotations = [
            Rotation(session, token, RefreshToken(bytes([254, *token.hash[1:]]), NOW, NOW + timedelta(days=30)), b"s" * 32)
            for session, token in (sessions[(number * 11 + at * 7) % len(sessions)] for at in range(40))
        ]
        async with store.transaction() as transaction:
            await transaction.rotate_refresh(rotations)
            await asyncio.sleep(0)

    async def end_all() -> None:
        async with store.transaction() as transaction:
            await transaction.end_sessions("default", account.account.id, "", SessionEnd.REVOKED, NOW + timedelta(seconds=100))
            await asyncio.sleep(0)

    async def end(session: Session) -> None:
        async with store.transaction() as transaction:
            await transaction.end_session("default", session.id, SessionEnd.LOGOUT, NOW)
            await transaction.revoke(Revocation("default", RevocationKind.SESSION, session.id, NOW - timedelta(seconds=1)))

    work = [refresh(*pair) for pair in sessions] + [end(session) for session, _ in reversed(sessions)]
    work += [store.prune(NOW + timedelta(days=1)) for _ in range(60)] + [refresh_all(number) for number in range(20)]
    work += [end_all() for _ in range(20)]
    order = [work[(number * 97) % len(work)] for number in range(len(work))]  # 400 and 97 share no factor: each once
    turn = asyncio.Semaphore(_AT_ONCE)

    async def at_its_turn(one: Coroutine[Any, Any, Any]) -> None:
        async with turn:  # or the last of them would wait for a connection longer than anybody waits
            await one

    answers = await asyncio.gather(*map(at_its_turn, order), return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


async def test_a_refresh_waits_for_nothing_that_waits_for_it(store: Any) -> None:
    """Who removes a session holds it and wants its tokens; a refresh that holds neither can have no part in a deadlock."""
    account, session = _account(), None
    session = Session("default", new_id(), account.account.id, NOW, NOW + timedelta(days=1), NOW)
    token = RefreshToken(b"t" * 32, NOW, NOW + timedelta(days=30))
    async with store.transaction() as transaction:
        await transaction.add_account(account)
        await transaction.open_session(session, token)
    async with store.transaction() as holder:
        await holder._connection.execute("select from session where id = $1 for update", session.id)

        async def refresh() -> Any:
            new = RefreshToken(b"n" * 32, NOW, NOW + timedelta(days=30))
            async with store.transaction() as transaction:
                return await transaction.rotate_refresh([Rotation(session, token, new, b"s" * 32)])

        waiting = asyncio.create_task(refresh())
        await until(lambda: store._database.fetchval("select count(*) from pg_locks where not granted"), within_s=60)
        # the token is free: with the other order this would wait for the refresh, which waits for us
        await holder._connection.execute("delete from session where id = $1", session.id)
    assert await waiting == [False]


async def test_a_taken_address_is_no_violation(store: Any, database: Any) -> None:
    """The server refuses nothing, so it writes no address into its log; the transaction can go on, and does not keep anything."""
    async with store.transaction() as transaction:
        await transaction.add_account(_account())
    async with store.transaction() as transaction:
        with pytest.raises(EmailTakenError):
            await transaction.add_account(_account())
        assert await transaction._connection.fetchval("select 1") == 1  # not aborted: nothing failed
    assert await database.fetchval("select count(*) from account") == 1
    answers = await asyncio.gather(*(_add(store) for _ in range(10)), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["EmailTakenError"] * 9 + ["NoneType"]


async def _add(store: Any, email: str = "new@example.com") -> None:
    async with store.transaction() as transaction:
        await transaction.add_account(_account(email))


LOCAL = st.text(st.sampled_from("abzABZéÉß\u017fİ\u0131Σς\u212a0.9"), min_size=1, max_size=12).filter(
    lambda text: ".." not in text and text.strip(".") == text
)
DOMAINS = st.sampled_from(
    ["example.com", "EXAMPLE.com", "bücher.example", "BÜCHER.example", "straße.example", "xn--bcher-kva.example"]
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(addresses=st.lists(st.tuples(LOCAL, DOMAINS), min_size=1, max_size=5))
def test_keys_of_before_become_the_keys_of_today(addresses: list[tuple[str, str]]) -> None:
    """What case folding told apart has different keys today: the migration can take no key that another account has."""
    keys = {email_key(f"{local}@{domain}") for local, domain in addresses} - {None}
    assert len({key.casefold() for key in keys}) <= len(keys)


async def test_the_migration_writes_the_keys_that_are_looked_for(store: Any, database: Any) -> None:
    """Accounts of the release before, kept under a case-folded key, are found under the address that they were made with."""
    emails = [
        "Ada@example.com",
        "straße@example.com",
        "strasse2@example.com",
        "Élan@bücher.example",
        "ΣΑΣ@example.com",
        "a.B-C+d@straße.example",
    ]
    for email in emails:
        new = _account(email)
        async with store.transaction() as transaction:
            await transaction.add_account(NewAccount(new.account, email.casefold(), new.password_hash))
    migration = files("stylobate_auth.store").joinpath("migrations/0004_email_keys.sql").read_text()
    for _ in range(2):  # a second run changes nothing
        await database.execute(migration)
        for email in emails:
            key = email_key(email)
            found = await store.credentials("default", key, "", NOW)
            assert found is not None, key
            assert found.account.email == email
    for name in ("strasse@example.com", "élan@bücher.example"):
        assert await store.credentials("default", email_key(name), "", NOW) is None


@pytest.mark.parametrize(
    ("sql", "asked"),
    [
        (_FIND, (["default"] * 4, [b"hash"] * 4)),
        (_GRANTED.format(most=101), ([0], ["default"], ["ada"], ["docs:read"], NOW)),
        (_COVERING, ([0], ["default"], ["ada"], ["docs:read"], ["/a"], NOW)),
    ],
    ids=["refresh tokens", "grants", "grants of resources"],
)
async def test_looking_up_a_few_is_planned_once(database: Any, sql: str, asked: Sequence[object]) -> None:
    """However many are looked up: planning costs more than to find a few."""
    async with database.transaction() as connection:
        for _ in range(12):
            await connection.fetch(sql, *asked)
        counts = "select generic_plans, custom_plans from pg_prepared_statements where statement = $1"
        (plans,) = await connection.fetch(counts, sql)
    assert (plans["generic_plans"], plans["custom_plans"]) == (7, 5)
