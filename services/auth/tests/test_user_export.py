"""Exporting accounts: who may, what stands in the document, and that what is missing is named."""

import json
from collections.abc import AsyncIterable
from datetime import timedelta
from typing import Any

import pytest
from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.errors import DatabaseUnavailableError, PermissionDeniedError, TokenRevokedError
from stylobate.identity.api_key import ApiKeyNotEnoughError
from stylobate_auth.api_key import ApiKeyDraft
from stylobate_auth.errors import AccountUnknownError, LoginNotFreshError
from stylobate_auth.export_document import Part, Told, document, section
from stylobate_auth.grant import Grant
from stylobate_auth.store.kept_data import PARTS

from .conftest import Auth
from .stores import NOW, add_account, new_account, new_session, refresh_token
from .test_api_key_store import _key
from .test_users import _admin


async def _read(parts: AsyncIterable[Part]) -> Any:
    return json.loads(b"".join([part.text async for part in parts]))


def _items(found: Any, source: str, name: str) -> list[Any]:
    (items,) = [one["items"] for one in found["sections"] if (one["source"], one["name"]) == (source, name)]
    return list(items)


async def test_an_owner_gets_all_that_auth_keeps(auth: Auth) -> None:
    """Account, roles, sessions that live and that are over, keys, mails, places; and nothing that lets anybody in."""
    ada = await auth.register()
    auth.clock.advance(timedelta(minutes=1))
    first, second = await auth.login(), await auth.login()
    mine = auth.principal(second)
    _, text = await auth.keys.create(mine, ApiKeyDraft("robot"), auth.origin)
    await auth.passwords.forgot("ada@example.com", auth.origin)
    await auth.sessions.revoke_others(mine, auth.origin)
    found = await _read(auth.exporter.export_own(mine, auth.origin))
    assert (found["user_id"], found["complete"], found["format"]) == (ada.id, True, "stylobate.user-export/1")
    assert [one["name"] for one in found["sections"]] == ["account", "roles", "sessions", "api_keys", "mails"]
    assert _items(found, "auth", "account")[0]["email"] == "ada@example.com"
    assert [one["end_reason"] for one in _items(found, "auth", "sessions")] == ["revoked", None]
    assert [one["name"] for one in _items(found, "auth", "api_keys")] == ["robot"]
    told = json.dumps(found)
    for secret in (text.rpartition("_")[2], first.refresh_token, second.access_token, await auth.post.token(), "argon2"):
        assert secret not in told
    assert [record.action for record in auth.store.records][-1] == "auth.user.export"


async def test_an_own_export_takes_a_login_of_a_moment_ago(auth: Auth) -> None:
    """However often the session was refreshed since; not with a key, and not once the session is over."""
    await auth.register()
    tokens = await auth.login()
    mine = auth.principal(tokens)
    auth.clock.advance(timedelta(minutes=15))
    assert (await _read(auth.exporter.export_own(mine, auth.origin)))["complete"]
    auth.clock.advance(timedelta(seconds=1))
    tokens = await auth.refreshes.refresh("default", tokens.refresh_token, auth.origin)
    with pytest.raises(LoginNotFreshError) as refused:
        await _read(auth.exporter.export_own(mine, auth.origin))
    assert refused.value.metadata == {"max_age": "900"}
    again = auth.principal(await auth.login())
    await auth.sessions.logout(again, auth.origin)
    with pytest.raises(TokenRevokedError):
        await _read(auth.exporter.export_own(again, auth.origin))


async def test_another_one_takes_the_right_and_all_of_its_roles(auth: Auth) -> None:
    """Who may export users does not export administrators, and keys export nobody."""
    root, ada = await _admin(auth), await auth.register()
    helper = auth.principal(await auth.login())
    with pytest.raises(PermissionDeniedError) as refused:
        await _read(auth.exporter.export(helper, ada.id, auth.origin))
    assert refused.value.metadata == {"permission": "users:export"}
    eve = await auth.register("eve@example.com")
    found = await _read(auth.exporter.export(root, eve.id, auth.origin))
    assert found["user_id"] == eve.id
    record = auth.store.records[-1]
    assert (record.action, record.actor, record.target) == ("auth.user.export", root.id, f"user:{eve.id}")
    for nobody in ("x", "", "01920c6e-7b1a-7c3e-8f2d-1a2b3c4d5e6f"):
        with pytest.raises(AccountUnknownError):
            await _read(auth.exporter.export(root, nobody, auth.origin))
    await auth.eraser.delete(root, eve.id, auth.origin)
    with pytest.raises(AccountUnknownError):
        await _read(auth.exporter.export(root, eve.id, auth.origin))


async def test_exports_are_limited(auth: Auth) -> None:
    """Ten an hour for who asks; the operator's command asks as it likes."""
    root, ada = await _admin(auth), await auth.register()
    for _ in range(10):
        await _read(auth.exporter.export(root, ada.id, auth.origin))
    with pytest.raises(RateLimitedError):
        await _read(auth.exporter.export(root, ada.id, auth.origin))
    assert (await _read(auth.exporter.export(auth.service, ada.id, auth.origin)))["complete"]


async def test_what_is_missing_is_named(auth: Auth) -> None:
    """In its section, at the end of the document, and with the last part; what came before it is there."""
    root, ada = await _admin(auth), await auth.register()
    auth.others.tells = [
        Told("state", "empty"),
        Told("state", "orders", b'{"n":1}'),
        Told("state", "orders", b'{"n":2}'),
        Told("state", "orders"),
        Told("modules", "a", b'{"n":3}'),
        Told("modules", "a", reason="HOOK_FAILED", detail="It failed."),
        Told("modules", "b", reason="HOOK_UNAVAILABLE", detail="It does not run."),
    ]
    parts = [part async for part in auth.exporter.export(root, ada.id, auth.origin)]
    found = json.loads(b"".join(part.text for part in parts))
    assert found["complete"] is False
    assert found["sections"][-3:] == [
        {"source": "state", "name": "orders", "items": [{"n": 1}, {"n": 2}], "complete": True, "reason": None, "detail": None},
        {
            "source": "modules",
            "name": "a",
            "items": [{"n": 3}],
            "complete": False,
            "reason": "HOOK_FAILED",
            "detail": "It failed.",
        },
        {
            "source": "modules",
            "name": "b",
            "items": [],
            "complete": False,
            "reason": "HOOK_UNAVAILABLE",
            "detail": "It does not run.",
        },
    ]
    assert [(one.name, one.reason) for one in parts[-1].failures] == [("a", "HOOK_FAILED"), ("b", "HOOK_UNAVAILABLE")]


async def test_the_document_is_made_bit_by_bit() -> None:
    """It is given out while it is made, and a fault of a store in the middle ends a section and not the document."""

    async def many() -> Any:
        for n in range(5000):
            yield {"n": n, "text": "x" * 100}
        raise DatabaseUnavailableError

    parts = [part async for part in document("ada", NOW, section("auth", "sessions", many()))]
    assert max(len(part.text) for part in parts) < 70_000
    found = json.loads(b"".join(part.text for part in parts))
    assert (len(_items(found, "auth", "sessions")), found["complete"]) == (5000, False)
    assert found["sections"][0]["reason"] == "DATABASE_UNAVAILABLE"


async def test_every_store_tells_what_it_keeps(bench: Any) -> None:
    """Of that account and of no other, part by part, in pages by name."""
    person, other = await add_account(bench.store, new_account()), await add_account(bench.store, new_account("b@example.com"))
    keys = sorted([(await _key(bench.store, person.id)).id for _ in range(3)])
    await _key(bench.store, other.id)
    session = new_session(person)
    async with bench.store.transaction() as transaction:
        await transaction.open_session(session, refresh_token())
        await transaction.remember_place("default", person.id, "192.0.2.1", NOW)
        await transaction.keep_new_email("default", person.id, "new@example.com", "new@example.com")
        await transaction.end_api_keys("default", person.id, NOW)
        for subject in (person.id, other.id):
            await transaction.put_grant(Grant("default", subject, "orders:read", "orders/1", None, NOW, "root"))
    found = {part: await bench.other.kept("default", person.id, part, "", 10) for part in PARTS}
    assert [one["id"] for one in found["api_keys"]] == keys
    assert all(one["revoked_at"] == NOW for one in found["api_keys"])
    page = await bench.other.kept("default", person.id, "api_keys", keys[0], 1)
    assert [one["id"] for one in page] == [keys[1]]
    (account,) = found["account"]
    assert (account["id"], account["email"], account["new_email"]) == (person.id, person.email, "new@example.com")
    assert account["display_name"] == person.display_name
    assert [one["id"] for one in found["sessions"]] == [session.id]
    assert found["login_places"] == [{"place": "192.0.2.1", "expires_at": NOW}]
    assert found["grants"] == [{"grant": "orders:read orders/1", "granted_at": NOW, "expires_at": None}]
    assert [one["role"] for one in found["roles"]] == list(person.roles)
    for nobody in ("x", session.id):
        assert [await bench.other.kept("default", nobody, part, "", 10) for part in PARTS] == [[]] * len(PARTS)


async def test_stores_tell_the_same_members(memory: Any, postgres: Any, mongodb: Any) -> None:
    """A document does not change with what it is read from."""
    told = []
    for stores in (memory, postgres, mongodb):
        person = await add_account(stores.store, new_account())
        await _key(stores.store, person.id)
        session = new_session(person)
        async with stores.store.transaction() as transaction:
            await transaction.open_session(session, refresh_token())
            await transaction.remember_place("default", person.id, "192.0.2.1", NOW)
        told.append({part: [list(row) for row in await stores.store.kept("default", person.id, part, "", 10)] for part in PARTS})
    assert told[0] == told[1] == told[2]


async def test_a_key_exports_nobody(auth: Auth) -> None:
    """Whatever its scopes."""
    root, ada = await _admin(auth), await auth.register()
    key = root.__class__(root.kind, root.id, is_key=True, scopes=frozenset({"*", "owner"}))
    for asked in (auth.exporter.export(key, ada.id, auth.origin), auth.exporter.export_own(key, auth.origin)):
        with pytest.raises(ApiKeyNotEnoughError):
            await _read(asked)


GIVEN_OUT = {"api_key", "login_place", "mail", "resource_grant", "session"}
LEFT_OUT = {"failed_login": "counts of a minute", "refresh_token": "hashes", "user_deletion": "of who is gone"}


async def test_no_table_about_accounts_is_forgotten(postgres: Any) -> None:
    """A new one belongs to an export, or here with the reason why it does not."""
    rows = await postgres.rows(
        "select table_name from information_schema.columns where table_schema = current_schema()"
        " and column_name in ('account_id', 'owner_id', 'subject', 'session_id') and table_name not like 'outbox%'"
    )
    assert {row["table_name"] for row in rows} == GIVEN_OUT | {"account_role"} | set(LEFT_OUT)


async def test_no_collection_about_accounts_is_forgotten(mongodb: Any) -> None:
    """The same on MongoDB, where the roles that an account holds stand in its own document."""
    kept = {command["create"] for command in mongodb.migration() if "create" in command}
    of_nobody = {
        "access_change",
        "access_state",
        "client_assertion",
        "first_admin_invitation",
        "revocation",
        "role",
        "signing_key",
        "token_issuer",
        "turn",
    }
    left_out = {*LEFT_OUT, "spent_token"} - {"refresh_token"}
    assert kept == GIVEN_OUT | left_out | of_nobody | {"account"}
