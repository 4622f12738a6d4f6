"""Making accounts and logging in."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import Ban, BanSubject, WatchBansResponse
from stylobate.audit import Outcome
from stylobate.clients.bans import BannedError
from stylobate.errors import PermissionDeniedError, TokenRevokedError, UnauthenticatedError
from stylobate.identity import Principal, PrincipalKind
from stylobate_auth.errors import AuthInvalidInputError, EmailTakenError, InvalidCredentialsError, RegistrationClosedError
from stylobate_auth.model import AccountDraft
from stylobate_auth.password_hasher import PasswordHasher

PASSWORD = "correct horse battery staple"
NOT_IN_NAMES = [
    *map(chr, (*range(1, 9), 14, 27, 127, 0x85, 0x9B)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u206e",
]
"""Inside a name; at its end some count as spaces and are taken off."""


async def test_a_registered_account_can_log_in(auth: Any) -> None:
    """Registering gives an account with the role ``user``; its password opens a session."""
    account = await auth.register("Ada@Example.COM", display_name=" Ada ")
    assert (account.email, account.display_name, account.roles) == ("Ada@example.com", "Ada", ("user",))
    assert (account.email_verified, account.created_at) == (False, auth.clock())
    same, tokens = await auth.accounts.login("ada@EXAMPLE.com", PASSWORD, auth.origin)
    assert same == account
    assert tokens.expires_at == auth.clock() + timedelta(minutes=10)
    assert await auth.accounts.me(auth.principal(tokens)) == account


async def test_registering_leaves_an_event_and_a_record(auth: Any) -> None:
    """Both name the account and neither holds the address or the password."""
    account = await auth.register()
    (event,), (record,) = auth.store.events, auth.store.records
    assert (event.type, event.subject, event.source) == ("auth.user.registered", account.id, "auth")
    assert event.value() == {"user_id": account.id, "roles": ["user"]}
    assert (record.action, record.actor, record.target) == ("auth.register", account.id, f"user:{account.id}")
    assert (record.via, record.request_id) == ("gateway", "request-1")


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@example.com", " ada@EXAMPLE.com "])
async def test_an_address_stands_once(auth: Any, email: str) -> None:
    """Another way of writing the same address is the same address."""
    await auth.register("ada@example.com")
    with pytest.raises(EmailTakenError):
        await auth.register(email)
    assert len(auth.store.events) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ada@example.com", "ADA@EXAMPLE.COM", True),
        ("ada@bücher.example", "Ada@XN--BCHER-KVA.example", True),
        ("cafe\u0301@example.com", "caf\u00e9@example.com", True),
        ("straße@example.com", "strasse@example.com", False),
        ("\u017fam@example.com", "sam@example.com", False),
        ("élan@example.com", "Élan@example.com", False),
        ("\u03c3\u03b1\u03c2@example.com", "\u03c3\u03b1\u03c3@example.com", False),
        ("ada@straße.example", "ada@strasse.example", False),
        ("ada+shop@example.com", "ada@example.com", False),
        ("a.da@example.com", "ada@example.com", False),
    ],
)
async def test_two_mailboxes_are_two_accounts(auth: Any, one: str, other: str, same: bool) -> None:
    """Only ASCII letters lose their case, and domains are what IDNA says: nobody gets into another's mailbox by its looks."""
    account = await auth.register(one)
    if same:
        with pytest.raises(EmailTakenError):
            await auth.register(other)
        assert (await auth.accounts.login(other, PASSWORD, auth.origin))[0] == account
    else:
        assert (await auth.register(other)).id != account.id
        assert (await auth.accounts.login(one, PASSWORD, auth.origin))[0] == account


async def test_of_two_at_the_same_moment_one_gets_the_address(auth: Any) -> None:
    """A race ends with one account, one event and one refusal."""
    answers = await asyncio.gather(*(auth.register() for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, EmailTakenError) for answer in answers) == 4
    assert len(auth.store.events) == 1


async def test_everything_wrong_is_said_at_once(auth: Any) -> None:
    """Each finding names its field."""
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.accounts.register(AccountDraft("not an address", "short", "x" * 101), auth.origin)
    assert [violation.pointer for violation in refused.value.violations] == ["/email", "/password", "/display_name"]
    assert "short" not in str([violation.detail for violation in refused.value.violations])


@pytest.mark.parametrize(
    "draft",
    [
        AccountDraft("a" * 250 + "@example.com", PASSWORD),
        AccountDraft("ada@example.test", PASSWORD),
        AccountDraft("", PASSWORD),
        AccountDraft("ada@example.com\0", PASSWORD),
        AccountDraft("ada@example.com", "x" * 1025),
        AccountDraft("ada@example.com", "x" * 7),
        AccountDraft("ada@example.com", PASSWORD, "a\0b"),
        *(AccountDraft("ada@example.com", PASSWORD, f"A{character}da") for character in NOT_IN_NAMES),
    ],
    ids=lambda draft: repr(draft)[:60],
)
async def test_bad_data_is_refused(auth: Any, draft: AccountDraft) -> None:
    """Nothing is kept of an account whose data is not valid."""
    with pytest.raises(AuthInvalidInputError):
        await auth.accounts.register(draft, auth.origin)
    assert not auth.store.events


async def test_closed_registration_is_closed(closed_auth: Any) -> None:
    """Nobody registers where registration is closed, and an administrator still makes accounts."""
    with pytest.raises(RegistrationClosedError) as refused:
        await closed_auth.register()
    assert refused.value.http_status == 403
    draft = AccountDraft("ada@example.com", PASSWORD)
    assert (await closed_auth.accounts.create(closed_auth.service, draft, closed_auth.origin)).roles == ("user",)


async def test_registering_cannot_choose_roles(auth: Any) -> None:
    """Roles in a registration count for nothing."""
    draft = AccountDraft("ada@example.com", PASSWORD, roles=("admin",))
    assert (await auth.accounts.register(draft, auth.origin)).roles == ("user",)


async def test_a_service_makes_administrators(auth: Any) -> None:
    """The command line makes the first administrator in its own name."""
    draft = AccountDraft("root@example.com", PASSWORD, roles=("admin",))
    assert (await auth.accounts.create(auth.service, draft, auth.origin)).roles == ("admin", "user")


async def test_unknown_roles_are_named(auth: Any) -> None:
    """A role that nothing declares is a finding."""
    draft = AccountDraft("ada@example.com", PASSWORD, roles=("wizard",))
    with pytest.raises(AuthInvalidInputError) as refused:
        await auth.accounts.create(auth.service, draft, auth.origin)
    assert refused.value.violations[0].pointer == "/roles"


async def test_nobody_hands_out_more_than_they_hold(auth: Any) -> None:
    """Who may create accounts cannot make an administrator of them, and who may not creates none."""
    manager = AccountDraft("manager@example.com", PASSWORD, roles=("manager",))
    await auth.accounts.create(auth.service, manager, auth.origin)
    await auth.register("user@example.com")
    boss = auth.principal(await auth.login("manager@example.com"))
    user = auth.principal(await auth.login("user@example.com"))
    clerk = AccountDraft("clerk@example.com", PASSWORD, roles=("clerk",))
    with pytest.raises(PermissionDeniedError) as refused:
        await auth.accounts.create(user, clerk, auth.origin)
    assert refused.value.metadata == {"permission": "users:create"}
    assert (await auth.accounts.create(boss, clerk, auth.origin)).roles == ("clerk", "user")
    with pytest.raises(PermissionDeniedError) as refused:
        await auth.accounts.create(boss, AccountDraft("evil@example.com", PASSWORD, roles=("admin",)), auth.origin)
    assert refused.value.metadata == {"permission": "*"}


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.com", "wrong password"),
        ("nobody@example.com", PASSWORD),
        ("junk", PASSWORD),
        ("ada@example.com", "x" * 2000),
    ],
)
async def test_a_failed_login_says_nothing(auth: Any, email: str, password: str) -> None:
    """Unknown address and wrong password look the same; the attempt is recorded without what was typed."""
    await auth.register()
    with pytest.raises(InvalidCredentialsError) as refused:
        await auth.login(email, password)
    assert refused.value.detail == InvalidCredentialsError.default_detail
    record = auth.store.records[-1]
    assert (record.action, record.outcome, record.actor) == ("auth.login", Outcome.DENIED, "")
    assert password not in repr(record)
    assert email not in repr(record)


async def test_an_unknown_address_costs_a_hash_too(auth: Any) -> None:
    """Whoever measures the time of an answer does not learn which addresses have accounts."""
    run, hashed = auth.hasher._queue.run, []
    auth.hasher._queue.run = lambda work, **how: (hashed.append("once"), run(work, **how))[1]
    for email in ("nobody@example.com", "junk"):
        with pytest.raises(InvalidCredentialsError):
            await auth.login(email)
    assert len(hashed) == 2


async def test_an_address_is_one_however_its_domain_is_written(auth: Any) -> None:
    """The Unicode and the ASCII form of a domain are the same."""
    await auth.register("ada@bücher.example")
    assert await auth.login("ADA@xn--bcher-kva.example")


async def test_a_hash_is_renewed_when_parameters_change(auth: Any) -> None:
    """The next login after a change keeps a hash of today's strength; the password stays."""
    await auth.register()
    before = (await auth.store.credentials("default", "ada@example.com", "", auth.clock())).password_hash
    async with PasswordHasher.open(memory_kib=16, time_cost=2, parallelism=1, threads=1, queue=2) as stronger:
        auth.accounts._hasher = stronger
        await auth.login()
        after = (await auth.store.credentials("default", "ada@example.com", "", auth.clock())).password_hash
        assert after != before
        assert "m=16,t=2" in after
        await auth.login()
        assert (await auth.store.credentials("default", "ada@example.com", "", auth.clock())).password_hash == after


async def test_me_ends_with_the_session(auth: Any) -> None:
    """After logout the account is not shown, also where the deny-list has not arrived yet."""
    await auth.register()
    principal = auth.principal(await auth.login())
    await auth.sessions.logout(principal, auth.origin)
    with pytest.raises(TokenRevokedError):
        await auth.accounts.me(principal)


async def test_a_service_has_no_account(auth: Any) -> None:
    """A service's token is not a user's."""
    with pytest.raises(UnauthenticatedError):
        await auth.accounts.me(auth.service)
    with pytest.raises(UnauthenticatedError):
        await auth.sessions.logout(auth.service, auth.origin)


async def test_unknown_sessions_are_refused(auth: Any) -> None:
    """A token whose session was removed names nobody any more."""
    gone = Principal(kind=PrincipalKind.USER, id="0197", session="nothing")
    with pytest.raises(TokenRevokedError):
        await auth.accounts.me(gone)


@pytest.mark.parametrize("level", ["user", "tenant"])
async def test_who_is_banned_is_told_so_and_gets_no_tokens(auth: Any, level: str) -> None:
    """With the right password only: nobody else learns of it. It is written down, and over when the ban is."""
    account = await auth.register()
    ban = Ban(level=level, tenant="default", subject=account.id if level == "user" else "default")
    ban.until.FromSeconds(1)
    ban.remaining.FromSeconds(60)
    auth.bans.take(WatchBansResponse(bans=[ban]))
    with pytest.raises(InvalidCredentialsError):
        await auth.login(password="a wrong one")
    with pytest.raises(BannedError) as caught:
        await auth.login()
    assert (caught.value.metadata, caught.value.retry_after) == ({"level": level}, timedelta(seconds=60))
    assert auth.store.records[-1].reason == "BANNED"
    assert (auth.store.records[-1].outcome, auth.store.records[-1].target) == (Outcome.DENIED, f"user:{account.id}")
    assert [event.type for event in auth.store.events] == ["auth.user.registered"]
    auth.clock.advance(timedelta(seconds=60))
    assert (await auth.login()).access_token


@pytest.mark.parametrize("level", ["user", "session", "tenant"])
async def test_a_refresh_token_waits_for_the_end_of_the_ban(auth: Any, level: str) -> None:
    """It is refused, not used up: whoever comes again after the ban goes on where they were."""
    account = await auth.register()
    tokens = await auth.login()
    subject = {"user": account.id, "session": auth.principal(tokens).session, "tenant": "default"}[level]
    auth.bans.take(WatchBansResponse(bans=[Ban(level=level, tenant="default", subject=subject)]))
    for _ in range(2):
        with pytest.raises(BannedError):
            await auth.refreshes.refresh("default", tokens.refresh_token, auth.origin)
    auth.bans.take(WatchBansResponse(lifted=[BanSubject(level=level, tenant="default", subject=subject)]))
    assert (await auth.refreshes.refresh("default", tokens.refresh_token, auth.origin))[0] == account
