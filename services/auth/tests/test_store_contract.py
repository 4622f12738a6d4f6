"""What every store promises, held against all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import MigrationSet
from stylobate.idempotency import Claim, KeyTakenError
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.outbox import Event
from stylobate.outbox.postgres import PostgresOutbox
from stylobate.testing.until import until
from stylobate_auth.errors import EmailTakenError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import (
    Account,
    NewAccount,
    NewMail,
    Revocation,
    RevocationKind,
    Session,
    SessionEnd,
    UsedMailToken,
)
from stylobate_auth.refresh_token import RefreshToken, Rotation
from stylobate_auth.store.postgres import PostgresAuthStore

from .memory_store import MemoryAuthStore

NOW = datetime.now(UTC).replace(microsecond=123_456)
SETS = (
    MigrationSet.of("outbox", "stylobate.outbox"),
    MigrationSet.of("idempotency", "stylobate.idempotency"),
    MigrationSet.of("audit", "stylobate.audit"),
    MigrationSet.of("auth", "stylobate_auth.store"),
)


class _Memory:
    """The memory store with what it committed beside it."""

    def __init__(self) -> None:
        self.store = MemoryAuthStore()
        self.other = self.store
        """The store as another process has it."""
        self.wakes = 0

    async def events(self) -> list[str]:
        return [event.type for event in self.store.events]

    async def records(self) -> list[str]:
        return [record.action for record in self.store.records]


class _Postgres:
    """The PostgreSQL store twice, on connections of its own each."""

    def __init__(self, databases: list[Any], trails: list[AuditTrail]) -> None:
        self._database = databases[0]
        self.wakes = 0
        self.store, self.other = (
            PostgresAuthStore(database, PostgresOutbox("auth"), trail, PostgresIdempotencyLedger(database), on_events=self._wake)
            for database, trail in zip(databases, trails, strict=True)
        )

    def _wake(self) -> None:
        self.wakes += 1

    async def events(self) -> list[str]:
        return [row["type"] for row in await self._database.fetch("select type from outbox_event order by seq")]

    async def records(self) -> list[str]:
        return [row["action"] for row in await self._database.fetch("select action from audit_record order by time, id")]


@pytest.fixture
def memory() -> _Memory:
    """Return the memory store."""
    return _Memory()


@pytest.fixture
async def postgres(database_for: Any) -> AsyncIterator[_Postgres]:
    """Return the PostgreSQL store."""
    databases = [await database_for("auth", *SETS) for _ in range(2)]
    async with (
        AuditTrail.open(PostgresAuditStore(databases[0]), "auth") as first,
        AuditTrail.open(PostgresAuditStore(databases[1]), "auth") as second,
    ):
        yield _Postgres(databases, [first, second])


@pytest.fixture(params=["memory", "postgres"])
def bench(request: pytest.FixtureRequest) -> Any:
    """Return a store with its other process's view, its events and its records."""
    return request.getfixturevalue(request.param)


def _new(email: str = "ada@example.com", tenant: str = "default", roles: tuple[str, ...] = ("user",)) -> NewAccount:
    account = Account(tenant, new_id(), email, "Ada", roles, False, NOW)
    return NewAccount(account, email, "$argon2id$hash")


def _session(account: Account, **changes: Any) -> Session:
    session = Session(account.tenant, new_id(), account.id, NOW, NOW + timedelta(days=30), NOW + timedelta(minutes=10))
    return replace(session, **changes)


def _token(name: str = "first") -> RefreshToken:
    return RefreshToken(name.encode().ljust(32, b"."), NOW, NOW + timedelta(days=30))


async def _add(store: Any, new: NewAccount, *, emit: bool = False) -> Account:
    async with store.transaction() as transaction:
        if emit:
            await transaction.emit(_registered(new.account))
        await transaction.add_account(new)
    return new.account


def _registered(account: Account) -> Event:
    return Event.new("auth.user.registered", account.id, {})


async def _register(store: Any, new: NewAccount, *, fail: bool) -> None:
    async with store.transaction() as transaction:
        await transaction.add_account(new)
        await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "token", NOW + timedelta(hours=1)))
        await transaction.emit(_registered(new.account))
        await transaction.record(AuditRecord("auth.register"))
        if fail:
            raise RuntimeError


def _rotation(session: Session, spent: str = "first", new: str = "second") -> Rotation:
    return Rotation(session, _token(spent), _token(new), b"s" * 32)


def _record() -> AuditRecord:
    return AuditRecord(action="auth.refresh", actor="u", target="session:s")


async def _open(store: Any, session: Session, token: RefreshToken) -> None:
    async with store.transaction() as transaction:
        await transaction.open_session(session, token)


async def test_an_account_is_found_by_id_and_address(bench: Any) -> None:
    """What went in comes out, roles sorted; unknown ids and addresses are None."""
    new = _new(roles=("clerk", "user"))
    account = await _add(bench.store, new)
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
    await _add(bench.store, _new())
    second = _new()
    with pytest.raises(EmailTakenError):
        await _add(bench.store, second, emit=True)
    assert await bench.events() == []
    assert await bench.store.account("default", second.account.id) is None
    await _add(bench.store, _new(tenant="another"))


async def test_a_race_for_an_address_has_one_winner(bench: Any) -> None:
    """Two processes that add the same address at the same moment: one gets it."""
    stores = [bench.store, bench.other] * 4
    answers = await asyncio.gather(*(_add(store, _new()) for store in stores), return_exceptions=True)
    assert sum(isinstance(answer, Account) for answer in answers) == 1
    assert sum(isinstance(answer, EmailTakenError) for answer in answers) == 7


async def test_tenants_do_not_see_each_other(bench: Any) -> None:
    """No read and no write of one tenant reaches a row of another, though the ids are known."""
    account = await _add(bench.store, _new())
    session = _session(account)
    await _open(bench.store, session, _token())
    store = bench.store
    assert await store.account("another", account.id) is None
    assert await store.credentials("another", "ada@example.com", "", NOW) is None
    assert await store.credentials_of("another", account.id) is None
    assert await store.session("another", session.id) is None
    assert await store.roles([("another", account.id)], NOW) == ((await store.defined_roles())[0], {})
    async with store.transaction() as transaction:
        assert await transaction.account("another", account.id) is None
        assert await transaction.refresh_tokens([("another", _token().hash)]) == [None]
        assert await transaction.end_session("another", session.id, SessionEnd.LOGOUT, NOW) is None
        assert not await transaction.hold_password_hash("another", account.id, "$argon2id$hash", "stolen")
        assert await transaction.end_sessions("another", account.id, "", SessionEnd.PASSWORD_CHANGED, NOW) == []
    assert await store.session("default", session.id) == session
    assert (await store.credentials("default", "ada@example.com", "", NOW)).password_hash == "$argon2id$hash"


async def test_a_password_hash_is_replaced_only_if_it_is_the_old_one(bench: Any) -> None:
    """A renewed hash never undoes a password that was changed meanwhile."""
    account = await _add(bench.store, _new())
    async with bench.store.transaction() as transaction:
        assert not await transaction.hold_password_hash("default", account.id, "another", "lost")
        assert await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "new")
        assert await transaction.hold_password_hash("default", account.id, "new", "new")
    assert (await bench.other.credentials("default", "ada@example.com", "", NOW)).password_hash == "new"
    assert (await bench.other.credentials_of("default", account.id)).password_hash == "new"


async def test_a_held_password_is_not_replaced_under_a_login(bench: Any) -> None:
    """Who opens a session with a password is waited for by who replaces it and ends the sessions, and the other way round."""
    account = await _add(bench.store, _new())
    session = _session(account)
    is_held = asyncio.Event()

    async def log_in() -> None:
        async with bench.store.transaction() as transaction:
            assert await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "$argon2id$hash")
            is_held.set()
            await asyncio.sleep(0.02)  # as long as the other needs to come in between, if it could
            await transaction.open_session(session, _token())

    async def change() -> list[Session]:
        await is_held.wait()
        async with bench.other.transaction() as transaction:
            assert await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "new")
            return await transaction.end_sessions("default", account.id, "", SessionEnd.PASSWORD_CHANGED, NOW)

    _, ended = await asyncio.gather(log_in(), change())
    assert [over.id for over in ended] == [session.id]
    async with bench.store.transaction() as transaction:
        assert not await transaction.hold_password_hash("default", account.id, "$argon2id$hash", "$argon2id$hash")


async def test_all_sessions_but_one_are_ended(bench: Any) -> None:
    """Those of the account that are alive; one that is over stays as it is, and so do others' sessions."""
    account, other = await _add(bench.store, _new()), await _add(bench.store, _new("eve@example.com"))
    mine, kept, over, expired = (_session(account), _session(account), _session(account), _session(account, expires_at=NOW))
    foreign = _session(other)
    for number, session in enumerate((mine, kept, over, expired, foreign)):
        await _open(bench.store, session, _token(str(number)))
    async with bench.store.transaction() as transaction:
        await transaction.end_session("default", over.id, SessionEnd.LOGOUT, NOW)
    at = NOW + timedelta(seconds=1)
    async with bench.store.transaction() as transaction:
        ended = await transaction.end_sessions("default", account.id, kept.id, SessionEnd.PASSWORD_CHANGED, at)
        assert ended == [replace(mine, ended_at=at, end=SessionEnd.PASSWORD_CHANGED)]
    assert await bench.other.session("default", kept.id) == kept
    assert (await bench.other.session("default", over.id)).end is SessionEnd.LOGOUT
    assert await bench.other.session("default", foreign.id) == foreign
    async with bench.other.transaction() as transaction:
        assert len(await transaction.end_sessions("default", account.id, "", SessionEnd.PASSWORD_CHANGED, at)) == 1


async def test_a_transaction_happens_whole_or_not_at_all(bench: Any) -> None:
    """An error takes back rows, revocations, events and records alike."""
    new = _new()
    with pytest.raises(RuntimeError):
        await _register(bench.store, new, fail=True)
    assert await bench.store.account("default", new.account.id) is None
    assert not (await bench.store.revocations(None)).entries
    assert (await bench.events(), await bench.records()) == ([], [])
    await _register(bench.store, new, fail=False)
    assert await bench.store.account("default", new.account.id) == new.account
    assert len((await bench.store.revocations(None)).entries) == 1
    assert (await bench.events(), await bench.records()) == (["auth.user.registered"], ["auth.register"])


async def test_a_session_is_rotated_and_ended(bench: Any) -> None:
    """Refreshing spends a token and adds one; ending happens once and shows everywhere."""
    account = await _add(bench.store, _new())
    session = _session(account)
    await _open(bench.store, session, _token())
    later = replace(session, expires_at=NOW + timedelta(days=31), token_expires_at=NOW + timedelta(minutes=11), seen_at=NOW)
    (found,) = await bench.other.refresh_tokens([("default", _token().hash)])
    assert (found.token, found.session, found.account, found.secret, found.since_used) == (_token(), session, account, b"", None)
    async with bench.store.transaction() as transaction:
        assert await transaction.rotate_refresh([_rotation(later)]) == [True]
        assert (await transaction.refresh_tokens([("default", _token().hash)]))[0].since_used is not None
    keys = [("default", _token(name).hash) for name in ("third", "first", "second")]
    unknown, spent, newest = await bench.other.refresh_tokens(keys)
    assert unknown is None
    assert timedelta(0) <= spent.since_used < timedelta(minutes=1)
    assert (newest.token.hash, newest.token.expires_at, newest.since_used) == (_token("second").hash, _token().expires_at, None)
    assert timedelta(0) <= newest.since_issued < timedelta(minutes=1)
    assert spent.session == newest.session == later
    assert spent.secret == newest.secret == b"s" * 32
    async with bench.other.transaction() as transaction:
        ended = await transaction.end_session("default", session.id, SessionEnd.LOGOUT, NOW)
        assert ended == replace(later, ended_at=NOW, end=SessionEnd.LOGOUT)
        assert await transaction.end_session("default", session.id, SessionEnd.REFRESH_REUSED, NOW) is None
        assert await transaction.end_session("default", new_id(), SessionEnd.LOGOUT, NOW) is None
    assert await bench.store.rotate([(_rotation(later, "second", "third"), _record())]) == [False]
    assert await bench.store.session("default", session.id) == ended
    assert await bench.store.session("default", new_id()) is None
    assert await bench.store.session("default", "no id") is None


async def test_a_refresh_token_is_spent_by_one(bench: Any) -> None:
    """Two processes with the same token at the same moment: the second sees it as used."""
    account = await _add(bench.store, _new())
    session = _session(account)
    await _open(bench.store, session, _token())

    async def use(store: Any, name: str) -> bool:
        async with store.transaction() as transaction:
            (is_done,) = await transaction.rotate_refresh([_rotation(session, "first", name)])
            await asyncio.sleep(0.01)  # as long as the other needs to come in between, if it could
            return bool(is_done)

    assert sorted(await asyncio.gather(use(bench.store, "a"), use(bench.other, "b"))) == [False, True]


async def test_many_refresh_tokens_are_spent_in_one_step(bench: Any) -> None:
    """Each but those that were spent before or whose session is over; a record of each that was."""
    account = await _add(bench.store, _new())
    sessions = [_session(account) for _ in range(4)]
    for number, session in enumerate(sessions):
        await _open(bench.store, session, _token(str(number)))
    async with bench.other.transaction() as transaction:
        await transaction.end_session("default", sessions[1].id, SessionEnd.LOGOUT, NOW)
        await transaction.rotate_refresh([_rotation(sessions[2], "2", "before")])
    before = len(await bench.records())
    rotations = [_rotation(session, str(number), f"new {number}") for number, session in enumerate(sessions)]
    assert await bench.store.rotate([(rotation, _record()) for rotation in rotations]) == [True, False, False, True]
    assert len(await bench.records()) == before + 2
    found = await bench.other.refresh_tokens([("default", _token(f"new {number}").hash) for number in range(4)])
    assert [one is not None for one in found] == [True, False, False, True]


async def test_sessions_that_live_are_listed(bench: Any) -> None:
    """The newest first, with the place of the newest refresh; in pages; not those that are over, or another's."""
    account, other = await _add(bench.store, _new()), await _add(bench.store, _new("eve@example.com"))
    first, second, over, expired = (_session(account), _session(account), _session(account), _session(account, expires_at=NOW))
    for number, session in enumerate((first, second, over, expired, _session(other))):
        await _open(bench.store, session, _token(str(number)))
    seen = replace(first, address="198.51.100.1", agent="phone", seen_at=NOW)
    async with bench.store.transaction() as transaction:
        await transaction.end_session("default", over.id, SessionEnd.LOGOUT, NOW)
        assert await transaction.rotate_refresh([_rotation(seen, "0", "new")]) == [True]
    store = bench.other
    assert await store.sessions("default", account.id, NOW, "", 10) == [second, seen]
    assert await store.sessions("default", account.id, NOW, "", 1) == [second]
    assert await store.sessions("default", account.id, NOW, second.id, 10) == [seen]
    assert await store.sessions("another", account.id, NOW, "", 10) == []


async def test_places_are_remembered(bench: Any) -> None:
    """A place is known until its time, the later of two; of one account and tenant; to every process."""
    account = await _add(bench.store, _new())
    await _add(bench.store, _new("eve@example.com"))
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
    clerk = await _add(bench.store, _new("clerk@example.com", roles=("clerk", "user")))
    user = await _add(bench.store, _new("user@example.com"))
    none = await _add(bench.store, _new("none@example.com", roles=()))
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


async def test_a_later_look_finds_what_came_after_the_earlier(bench: Any) -> None:
    """A page that goes on from another holds every newer entry, also of a transaction that began before it."""
    slow = Revocation("default", RevocationKind.SESSION, "slow", datetime.now(UTC) + timedelta(minutes=5))
    async with bench.other.transaction() as transaction:
        await transaction.account("default", new_id())  # it has begun
        since = NOW if bench.store is bench.other else (await bench.store.revocations(None)).as_of
        await transaction.revoke(slow)
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
    account = await _add(bench.store, _new())
    old, alive = _session(account, expires_at=NOW - timedelta(seconds=1)), _session(account)
    await _open(bench.store, old, _token("old"))
    await _open(bench.store, alive, _token("alive"))
    async with bench.store.transaction() as transaction:
        await transaction.remember_place("default", account.id, "192.0.2.1", NOW - timedelta(seconds=1))
        await transaction.remember_place("default", account.id, "192.0.2.2", NOW + timedelta(days=1))
        await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "old", NOW - timedelta(seconds=1)))
        await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "new", NOW + timedelta(hours=1)))
    assert await bench.store.prune(NOW) == 3
    assert await bench.store.prune(NOW) == 0
    assert await bench.store.session("default", old.id) is None
    assert await bench.store.session("default", alive.id) == alive
    gone, stays = await bench.store.refresh_tokens([("default", _token(name).hash) for name in ("old", "alive")])
    assert (gone, stays is None) == (None, False)
    assert await bench.store.prune(NOW + timedelta(days=30)) > 0
    assert await bench.store.refresh_tokens([("default", _token("alive").hash)]) == [None]


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
    account = await _add(bench.store, _new())
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
    account = await _add(bench.store, _new())

    async def fail() -> None:
        async with bench.store.transaction() as transaction:
            await transaction.add_mail(_mail(account))
            await transaction.add_account(_new())

    with pytest.raises(EmailTakenError):
        await fail()
    assert await bench.store.mails().take(NOW, NOW, 8) == []


async def test_a_token_of_a_mail_is_used_once(bench: Any) -> None:
    """By one of two at the same moment; not of another kind or tenant, after its time, when it was voided, of nobody."""
    account = await _add(bench.store, _new())
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
    account = await _add(bench.store, _new())
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
    await _add(bench.store, _new())


async def test_an_address_that_was_kept_may_be_taken_meanwhile(bench: Any) -> None:
    """Also by who registers at this very moment; then all stays."""
    account = await _add(bench.store, _new())
    async with bench.store.transaction() as transaction:
        await transaction.keep_new_email("default", account.id, "ada@example.org", "ada@example.org")

    async def take() -> None:
        async with bench.other.transaction() as transaction:
            await transaction.take_new_email("default", account.id)

    answers = await asyncio.gather(take(), _add(bench.store, _new("ada@example.org")), return_exceptions=True)
    assert sum(isinstance(answer, EmailTakenError) for answer in answers) == 1
    with pytest.raises(EmailTakenError):
        await take()


async def test_a_voided_mail_is_not_sent_any_more(bench: Any) -> None:
    """Its token would do nothing."""
    account = await _add(bench.store, _new())
    await _write(bench.store, _mail(account))
    async with bench.store.transaction() as transaction:
        await transaction.void_mail_tokens("default", account.id, [MailKind.RESET_PASSWORD], NOW)
    assert await bench.other.mails().take(NOW, NOW, 8) == []


async def test_an_account_may_have_to_prove_its_address(bench: Any) -> None:
    """Until it was proven, in whichever way."""
    new = replace(_new(), must_verify=True)
    account = await _add(bench.store, new)
    assert (await bench.other.credentials("default", "ada@example.com", "", NOW)).must_verify
    assert (await bench.other.credentials_of("default", account.id)).must_verify
    async with bench.store.transaction() as transaction:
        await transaction.prove_email("default", account.id)
    assert not (await bench.other.credentials_of("default", account.id)).must_verify


async def test_mails_are_pruned_when_they_are_over(bench: Any) -> None:
    """One that is still to be sent stays until somebody has given it up."""
    account = await _add(bench.store, _new())
    await _write(bench.store, _mail(account), _mail(None, b"nobody"))
    over = NOW + timedelta(hours=1)
    assert await bench.store.prune(NOW) == 0
    assert await bench.store.prune(over) == 1
    (due,) = await bench.store.mails().take(over, over, 8)
    await bench.store.mails().done(due)
    assert await bench.store.prune(over) == 1


async def test_a_password_and_an_address_are_replaced_and_proven(bench: Any) -> None:
    """By who read a mail: whatever the hash was, and in this account alone."""
    account, other = await _add(bench.store, _new()), await _add(bench.store, _new("eve@example.com"))
    async with bench.store.transaction() as transaction:
        await transaction.replace_password_hash("default", account.id, "new")
        await transaction.prove_email("default", account.id)
    found = await bench.other.credentials_of("default", account.id)
    assert (found.password_hash, found.account.email_verified) == ("new", True)
    assert not (await bench.other.account("default", other.id)).email_verified


async def test_the_relay_is_woken_for_events_only(postgres: _Postgres) -> None:
    """A commit with an event wakes the relay, one without does not, and neither does one that failed."""
    await _add(postgres.store, _new("first@example.com"))
    with pytest.raises(RuntimeError):
        await _register(postgres.store, _new(), fail=True)
    assert postgres.wakes == 0
    await _register(postgres.store, _new(), fail=False)
    assert postgres.wakes == 1


async def test_a_note_is_written_soon(bench: Any) -> None:
    """What changed nothing is recorded without a transaction."""
    await bench.store.note(AuditRecord("auth.login"))
    records = await until(bench.records, within_s=60)
    assert records == ["auth.login"]


async def test_an_answer_is_kept_with_the_change(bench: Any) -> None:
    """A key, its answer and the change are committed together or not at all; a key that has an answer is taken."""
    claim = Claim("default", "/", "RegisterUser", "k", b"hash", NOW, NOW + timedelta(hours=1), str.encode)

    async def add(email: str, error: Exception | None) -> None:
        async with bench.store.transaction() as transaction:
            await transaction.claim(claim)
            await transaction.add_account(_new(email))
            await transaction.answer(claim, email)
            if error is not None:
                raise error

    with suppress(RuntimeError):
        await add("a@example.com", RuntimeError())
    await add("b@example.com", None)
    with pytest.raises(KeyTakenError):
        await add("c@example.com", None)
    found = [await bench.store.credentials("default", f"{name}@example.com", "", NOW) is not None for name in "abc"]
    assert found == [False, True, False]
