"""API keys: who may make, see, exchange and end them, and how they stand."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.api.auth.v1 import api_key_service_pb2 as pb
from stylobate.errors import InvalidInputError, PermissionDeniedError, StylobateError
from stylobate.idempotency import Idempotency, Keeping
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import ApiKeyNotEnoughError, read_api_key
from stylobate.rpc.call import Call, current_call
from stylobate_auth.api_key import ApiKeyDraft, Standing
from stylobate_auth.errors import (
    AccountUnknownError,
    ApiKeyOverError,
    ApiKeysTooManyError,
    ApiKeyUnknownError,
    AuthInvalidInputError,
)
from stylobate_auth.model import AccountDraft, Question, RevocationKind
from stylobate_auth.servicer import ApiKeyServicer

from .conftest import PASSWORD, Auth

DAY = timedelta(days=1)


async def _person(auth: Auth, email: str = "ada@example.com", *roles: str) -> tuple[Principal, Call]:
    account = await auth.accounts.create(auth.service, AccountDraft(email, PASSWORD, roles=roles), auth.origin)
    principal = Principal(PrincipalKind.USER, account.id, session="s", via="gateway")
    return principal, replace(auth.origin, principal=principal)


async def _standing(auth: Auth, text: str) -> Standing:
    return (await auth.keys.verify([read_api_key(text)]))[0].standing


async def test_a_key_is_told_once_and_kept_as_a_hash(auth: Auth) -> None:
    """What is stored, recorded and told others holds its id, and nothing of its secret."""
    ada, call = await _person(auth)
    draft = ApiKeyDraft(
        " import ", ("orders:read", "orders:*", "orders:read"), ("192.0.2.0/24", "::ffff:192.0.2.0/120", "2001:db8::1")
    )
    key, text = await auth.keys.create(ada, draft, call)
    assert (key.name, key.owner, key.scopes) == ("import", ada.id, ("orders:*", "orders:read"))
    assert key.allowed_cidrs == ("192.0.2.0/24", "2001:db8::1/128")
    assert text.startswith(auth.keys.prefix(key))
    secret = text.removeprefix(auth.keys.prefix(key))
    kept = [vars(auth.store._tables), auth.store.events, auth.store.records]
    assert secret not in repr(kept)
    assert auth.store.events[-1].type == "auth.api_key.created"
    assert (auth.store.records[-1].action, auth.store.records[-1].target) == ("auth.api_key.create", f"api_key:{key.id}")
    (found,) = await auth.keys.verify([read_api_key(text)])
    assert (found.standing, found.key) == (Standing.VALID, key)
    assert found.believed_until == auth.clock() + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("draft", "pointer"),
    [
        (ApiKeyDraft(""), "/name"),
        (ApiKeyDraft("x" * 101), "/name"),
        (ApiKeyDraft("a\u202eb"), "/name"),
        (ApiKeyDraft("a", ("orders",)), "/scopes/0"),
        (ApiKeyDraft("a", ("orders:read", "Orders:read")), "/scopes/1"),
        (ApiKeyDraft("a", ("public",)), "/scopes/0"),
        (ApiKeyDraft("a", ("a:b",) * 65), "/scopes"),
        (ApiKeyDraft("a", (), ("192.0.2.7/24",)), "/allowed_cidrs/0"),
        (ApiKeyDraft("a", (), ("fe80::1%eth0",)), "/allowed_cidrs/0"),
        (ApiKeyDraft("a", (), ("everywhere",)), "/allowed_cidrs/0"),
        (ApiKeyDraft("a", rate_limit="100"), "/rate_limit"),
        (ApiKeyDraft("a", rate_limit="0/minute"), "/rate_limit"),
        (ApiKeyDraft("a", expires_at=datetime(2020, 1, 1, tzinfo=UTC)), "/expires_at"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_place(auth: Auth, draft: ApiKeyDraft, pointer: str) -> None:
    """Nothing is written."""
    ada, call = await _person(auth)
    with pytest.raises(AuthInvalidInputError) as caught:
        await auth.keys.create(ada, draft, call)
    assert [violation.pointer for violation in caught.value.violations] == [pointer]
    assert (await auth.keys.of_account(ada, "", 0, "")) == ([], "")


async def test_a_key_ends_with_its_time_and_is_believed_no_longer(auth: Auth) -> None:
    """A verifier is told so when it asks a moment before."""
    ada, call = await _person(auth)
    ends = auth.clock() + timedelta(minutes=15)
    _, text = await auth.keys.create(ada, ApiKeyDraft("a", expires_at=ends), call)
    auth.clock.advance(timedelta(minutes=14))
    (found,) = await auth.keys.verify([read_api_key(text)])
    assert found.believed_until == ends
    auth.clock.advance(timedelta(minutes=1))
    assert await _standing(auth, text) is Standing.EXPIRED


async def test_a_wrong_secret_is_as_unknown_as_a_wrong_id(auth: Auth) -> None:
    """Also of a key that is over: nothing is told to who does not have it."""
    ada, call = await _person(auth)
    key, text = await auth.keys.create(ada, ApiKeyDraft("a"), call)
    proof = read_api_key(text)
    assert [
        found.standing for found in await auth.keys.verify([proof, proof._replace(secret_hash=bytes(32)), proof._replace(id="x")])
    ] == [
        Standing.VALID,
        Standing.UNKNOWN,
        Standing.UNKNOWN,
    ]
    await auth.keys.revoke(ada, key.id, call)
    assert (await auth.keys.verify([proof._replace(secret_hash=bytes(32))]))[0].standing is Standing.UNKNOWN
    with pytest.raises(InvalidInputError):
        await auth.keys.verify([proof] * 257)


async def test_a_revoked_key_is_on_the_deny_list(auth: Auth) -> None:
    """For longer than anybody may believe in it; a second end changes nothing and is not told again."""
    ada, call = await _person(auth)
    key, text = await auth.keys.create(ada, ApiKeyDraft("a"), call)
    for _ in range(2):
        await auth.keys.revoke(ada, key.id, call)
    assert await _standing(auth, text) is Standing.REVOKED
    (entry,) = (await auth.store.revocations(None)).entries
    assert (entry.kind, entry.id) == (RevocationKind.KEY, key.id)
    assert entry.expires_at > auth.clock() + timedelta(minutes=10)
    assert [event.type for event in auth.store.events].count("auth.api_key.revoked") == 1
    assert (await auth.keys.get(ada, key.id)).revoked_at == auth.clock()
    assert (await auth.keys.of_account(ada, "", 0, "")) == ([], "")


@pytest.mark.parametrize("overlap", [timedelta(0), DAY])
async def test_an_exchanged_key_holds_for_the_overlap(auth: Auth, overlap: timedelta) -> None:
    """Its successor is like it, and both hold meanwhile; with none it is revoked at once."""
    ada, call = await _person(auth)
    ends = auth.clock() + 10 * DAY
    draft = ApiKeyDraft("a", ("orders:read",), ("192.0.2.0/24",), ends, rate_limit="9/day")
    old, old_text = await auth.keys.create(ada, draft, call)
    new, new_text = await auth.keys.rotate(ada, old.id, overlap, call)
    assert replace(new, id=old.id) == old
    assert await _standing(auth, new_text) is Standing.VALID
    assert await _standing(auth, old_text) is (Standing.VALID if overlap else Standing.REVOKED)
    assert [entry.id for entry in (await auth.store.revocations(None)).entries] == ([] if overlap else [old.id])
    assert (await auth.keys.get(ada, old.id)).replaced_by == new.id
    with pytest.raises(ApiKeyOverError):
        await auth.keys.rotate(ada, old.id, DAY, call)
    auth.clock.advance(DAY)
    assert await _standing(auth, old_text) is (Standing.EXPIRED if overlap else Standing.REVOKED)
    assert await _standing(auth, new_text) is Standing.VALID
    assert new.id.encode() in auth.store.events[-1].data


async def test_a_key_is_given_another_limit(auth: Auth) -> None:
    """Verifiers are told and find it; its successor has it; what is no limit, or of a key that is over, changes nothing."""
    ada, call = await _person(auth)
    key, text = await auth.keys.create(ada, ApiKeyDraft("a", rate_limit="9/day"), call)
    changed = await auth.keys.limit(ada, key.id, " 20/day ", call)
    assert changed == replace(key, rate_limit="20/day")
    (found,) = await auth.keys.verify([read_api_key(text)])
    assert found.key == changed
    (entry,) = (await auth.store.revocations(None)).entries
    assert (entry.kind, entry.id, entry.not_before) == (RevocationKind.KEY_CHANGED, key.id, auth.clock())
    assert auth.store.events[-1].type == "auth.api_key.changed"
    assert auth.store.records[-1].detail | {"rate_limit": "20/day", "before": "9/day"} == auth.store.records[-1].detail
    with pytest.raises(AuthInvalidInputError) as caught:
        await auth.keys.limit(ada, key.id, "many", call)
    assert caught.value.violations[0].pointer == "/rate_limit"
    new, _ = await auth.keys.rotate(ada, key.id, DAY, call)
    assert new.rate_limit == "20/day"
    assert (await auth.keys.limit(ada, key.id, "", call)).rate_limit == "", "it holds for the overlap"
    await auth.keys.revoke(ada, key.id, call)
    with pytest.raises(ApiKeyOverError):
        await auth.keys.limit(ada, key.id, "1/day", call)


@pytest.mark.parametrize("overlap", [timedelta(minutes=9), timedelta(days=31), timedelta(seconds=-1)])
async def test_an_overlap_that_verifiers_would_outlast_is_refused(auth: Auth, overlap: timedelta) -> None:
    """And one without end."""
    ada, call = await _person(auth)
    key, _ = await auth.keys.create(ada, ApiKeyDraft("a"), call)
    with pytest.raises(InvalidInputError):
        await auth.keys.rotate(ada, key.id, overlap, call)


async def test_an_account_has_so_many_keys(auth: Auth) -> None:
    """What is over does not count, nor what was exchanged; two that come at once do not both get the last one."""
    ada, call = await _person(auth)
    key, _ = await auth.keys.create(ada, ApiKeyDraft("a"), call)
    await auth.keys.create(ada, ApiKeyDraft("b", expires_at=auth.clock() + DAY), call)
    both = await asyncio.gather(*(auth.keys.create(ada, ApiKeyDraft("c"), call) for _ in range(2)), return_exceptions=True)
    assert sorted(isinstance(one, ApiKeysTooManyError) for one in both) == [False, True]
    await auth.keys.rotate(ada, key.id, DAY, call)
    auth.clock.advance(DAY)
    await auth.keys.create(ada, ApiKeyDraft("d"), call)


async def test_keys_of_others_take_a_permission(auth: Auth) -> None:
    """Asked for before it is said whether there is such a key, or such an account."""
    ada, call = await _person(auth)
    ben, ben_call = await _person(auth, "ben@example.com")
    key, _ = await auth.keys.create(ada, ApiKeyDraft("a"), call)
    asked: list[Any] = [
        lambda: auth.keys.get(ben, key.id),
        lambda: auth.keys.get(ben, "01a20883-0000-7000-8000-000000000000"),
        lambda: auth.keys.of_account(ben, ada.id, 0, ""),
        lambda: auth.keys.revoke(ben, key.id, ben_call),
        lambda: auth.keys.limit(ben, key.id, "many", ben_call),
        lambda: auth.keys.rotate(ben, key.id, DAY, ben_call),
        lambda: auth.keys.create(ben, ApiKeyDraft("a", owner=ada.id), ben_call),
        lambda: auth.keys.create(ben, ApiKeyDraft("a", owner="nobody"), ben_call),
    ]
    for ask in asked:
        with pytest.raises(PermissionDeniedError) as caught:
            await ask()
        assert caught.value.metadata["permission"] in {"api_keys:read", "api_keys:write"}
    root, root_call = await _person(auth, "root@example.com", "admin")
    assert (await auth.keys.get(root, key.id)).id == key.id
    assert len((await auth.keys.of_account(root, ada.id, 0, ""))[0]) == 1
    made, _ = await auth.keys.create(root, ApiKeyDraft("b", owner=ada.id), root_call)
    assert made.owner == ada.id
    with pytest.raises(ApiKeyUnknownError):
        await auth.keys.get(root, "01a20883-0000-7000-8000-000000000000")
    with pytest.raises(AccountUnknownError):
        await auth.keys.create(root, ApiKeyDraft("a", owner="01a20883-0000-7000-8000-000000000000"), root_call)


async def test_a_service_has_no_keys_of_its_own(auth: Auth) -> None:
    """The operator's command makes them for accounts; without one it is told that there is none."""
    with pytest.raises(AccountUnknownError):
        await auth.keys.create(auth.service, ApiKeyDraft("a"), auth.origin)
    ada, _ = await _person(auth)
    assert (await auth.keys.create(auth.service, ApiKeyDraft("a", owner=ada.id), auth.origin))[0].owner == ada.id
    assert (await auth.keys.of_account(auth.service, "", 0, ""))[0] == []


async def test_nobody_makes_a_key_that_may_more_than_they(clock: Any, hasher: Any) -> None:
    """Who may write the keys of others, and is not an administrator, makes none for one."""
    from .conftest import DECLARED, build

    DECLARED["keeper"] = {"api_keys:write"}
    try:
        auth = build(clock, hasher)
    finally:
        del DECLARED["keeper"]
    keeper, call = await _person(auth, "keeper@example.com", "keeper")
    ada, _ = await _person(auth)
    root, _ = await _person(auth, "root@example.com", "admin")
    made, _ = await auth.keys.create(keeper, ApiKeyDraft("a", ("orders:create",), owner=ada.id), call)
    with pytest.raises(PermissionDeniedError):
        await auth.keys.create(keeper, ApiKeyDraft("a", ("orders:create",), owner=root.id), call)
    await auth.keys.revoke(keeper, made.id, call)


async def test_a_key_manages_nothing(auth: Auth) -> None:
    """Neither keys nor its owner's account and sessions, whatever its scopes."""
    root, call = await _person(auth, "root@example.com", "admin")
    key, _ = await auth.keys.create(root, ApiKeyDraft("a", ("*",)), call)
    as_key = replace(root, session="", token_id=key.id, is_key=True, scopes=frozenset({"*"}))
    asked: list[Any] = [
        lambda: auth.keys.get(as_key, key.id),
        lambda: auth.keys.of_account(as_key, "", 0, ""),
        lambda: auth.keys.create(as_key, ApiKeyDraft("a"), call),
        lambda: auth.keys.rotate(as_key, key.id, DAY, call),
        lambda: auth.keys.revoke(as_key, key.id, call),
        lambda: auth.keys.limit(as_key, key.id, "", call),
        lambda: auth.accounts.me(as_key),
        lambda: auth.sessions.logout(as_key, call),
        lambda: auth.passwords.change(as_key, PASSWORD, "another correct horse", call),
    ]
    for ask in asked:
        with pytest.raises(ApiKeyNotEnoughError):
            await ask()


async def test_scopes_narrow_what_the_owner_may_do(auth: Auth) -> None:
    """In what auth itself asks for, and in what it answers to who asks about themselves."""
    root, _ = await _person(auth, "root@example.com", "admin")
    narrow = replace(root, session="", is_key=True, scopes=frozenset({"users:create"}))
    await auth.access.require(narrow, "users:create")
    with pytest.raises(StylobateError):
        await auth.access.require(narrow, "orders:read")
    questions = [Question(root.id, "users:create"), Question(root.id, "orders:read")]
    assert [one.is_allowed for one in await auth.access.check(narrow, questions)] == [True, False]
    ada, _ = await _person(auth)
    wide = replace(ada, session="", is_key=True, scopes=frozenset({"*"}))
    with pytest.raises(PermissionDeniedError):
        await auth.access.require(wide, "users:create")


async def test_last_use_is_written_from_time_to_time(auth: Auth) -> None:
    """All at once, however often a key was verified; a wrong secret is no use."""
    ada, call = await _person(auth)
    used, text = await auth.keys.create(ada, ApiKeyDraft("a"), call)
    other, other_text = await auth.keys.create(ada, ApiKeyDraft("b"), call)
    await auth.keys.verify([read_api_key(text)] * 3 + [read_api_key(other_text)._replace(secret_hash=bytes(32))])
    assert (await auth.keys.get(ada, used.id)).last_used_at is None
    await auth.keys.note_used()
    assert (await auth.keys.get(ada, used.id)).last_used_at == auth.clock()
    assert (await auth.keys.get(ada, other.id)).last_used_at is None


async def test_pages_follow_each_other(auth: Auth) -> None:
    """In the order in which keys were made."""
    ada, call = await _person(auth)
    made = [(await auth.keys.create(ada, ApiKeyDraft(name), call))[0].id for name in "abc"]
    first, token = await auth.keys.of_account(ada, "", 2, "")
    second, end = await auth.keys.of_account(ada, "", 2, token)
    assert ([key.id for key in (*first, *second)], end) == (made, "")


async def test_an_answer_that_comes_again_has_no_key(auth: Auth) -> None:
    """The key was told once; what happened comes again, with its id, and nothing more happens."""
    ada, call = await _person(auth)
    servicer = ApiKeyServicer(auth.keys, Idempotency(auth.store.ledger, auth.clock, keeping=Keeping(b"s" * 32)))
    current_call.set(call)
    made = pb.CreateApiKeyRequest(name="a", idempotency_key="create")
    first, again = [await servicer.CreateApiKey(made, None) for _ in range(2)]
    assert (bool(first.key), first.replayed, again.key, again.replayed) == (True, False, "", True)
    assert first.api_key == again.api_key
    rotated = pb.RotateApiKeyRequest(id=first.api_key.id, idempotency_key="rotate")
    first, again = [await servicer.RotateApiKey(rotated, None) for _ in range(2)]
    assert (bool(first.key), again.key, first.api_key.id) == (True, "", again.api_key.id)
    assert len((await auth.keys.of_account(ada, "", 0, ""))[0]) == 2
