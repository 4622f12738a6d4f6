"""Service accounts: who may make them, what they may do, and what goes with them."""

from dataclasses import replace
from typing import Any

import pytest
from stylobate.errors import PermissionDeniedError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import ApiKeyNotEnoughError, read_api_key
from stylobate_auth.api_key import ApiKeyDraft, Standing
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError, InvalidCredentialsError
from stylobate_auth.model import AccountDraft, Question

from .conftest import PASSWORD, Auth, build
from .stores import NOW, add_account, new_account
from .test_api_key_store import _key


async def _admin(auth: Auth) -> Principal:
    draft = AccountDraft("root@example.com", PASSWORD, roles=("admin",))
    account = await auth.accounts.create(auth.service, draft, auth.origin)
    return Principal(PrincipalKind.USER, account.id, session="s")


async def test_its_keys_do_what_its_roles_permit(auth: Auth) -> None:
    """No more than both, and nobody logs in to it."""
    root = await _admin(auth)
    account = await auth.machines.create(root, " import ", ["clerk"], auth.origin)
    assert (account.name, account.roles) == ("import", ("clerk",))
    _, text = await auth.keys.create(root, ApiKeyDraft("a", ("orders:read", "users:create"), owner=account.id), auth.origin)
    (found,) = await auth.keys.verify([read_api_key(text)])
    assert found.standing is Standing.VALID
    as_key = Principal(PrincipalKind.USER, account.id, is_key=True, scopes=frozenset({"orders:read", "users:create"}))
    questions = [Question(account.id, name) for name in ("orders:read", "orders:ship", "users:create")]
    assert [one.is_allowed for one in await auth.access.check(as_key, questions)] == [True, False, False]
    for address in ("", account.id, f"{account.id}@example.com"):
        for password in ("", PASSWORD):
            with pytest.raises(InvalidCredentialsError):
                await auth.login(address, password)
    assert (await auth.machines.page(root, 0, ""))[0] == [account]
    assert auth.store.events[-2].type == "auth.service_account.created"


async def test_deleting_one_ends_its_keys(auth: Auth) -> None:
    """On the deny-list, at once; an account of a person is none."""
    root = await _admin(auth)
    account = await auth.machines.create(root, "import", [], auth.origin)
    key, text = await auth.keys.create(root, ApiKeyDraft("a", owner=account.id), auth.origin)
    await auth.machines.delete(root, account.id, auth.origin)
    assert (await auth.keys.verify([read_api_key(text)]))[0].standing is Standing.UNKNOWN
    assert [entry.id for entry in (await auth.store.revocations(None)).entries] == [key.id]
    assert auth.store.events[-1].type == "auth.service_account.deleted"
    for other in (account.id, root.id, "x", ""):
        with pytest.raises(AccountUnknownError):
            await auth.machines.delete(root, other, auth.origin)
    assert await auth.store.account("default", root.id) is not None


async def test_it_stays_when_who_made_it_goes(auth: Auth) -> None:
    """It is nobody's: disabled, then deleted, the person leaves it behind with its keys; their own end."""
    root, maker = await _admin(auth), await auth.accounts.create(auth.service, auth.draft(roles=("admin",)), auth.origin)
    person = Principal(PrincipalKind.USER, maker.id, session="s")
    account = await auth.machines.create(person, "import", ["clerk"], auth.origin)
    _, text = await auth.keys.create(person, ApiKeyDraft("a", ("orders:read",), owner=account.id), auth.origin)
    _, own = await auth.keys.create(person, ApiKeyDraft("mine", ("orders:read",)), auth.origin)
    proofs = [read_api_key(text), read_api_key(own)]
    await auth.users.disable(root, maker.id, auth.origin)
    assert [one.standing for one in await auth.keys.verify(proofs)] == [Standing.VALID, Standing.REVOKED]
    await auth.eraser.delete(root, maker.id, auth.origin)
    assert [one.standing for one in await auth.keys.verify(proofs)] == [Standing.VALID, Standing.UNKNOWN]
    assert (await auth.access.check(auth.service, [Question(account.id, "orders:read")]))[0].is_allowed
    assert (await auth.machines.page(root, 0, ""))[0] == [account]
    made = [record for record in auth.store.records if record.action == "auth.service_account.create"]
    assert [(record.actor, record.target) for record in made] == [(maker.id, f"user:{account.id}")]


@pytest.mark.parametrize(
    ("name", "roles", "pointer"),
    [("", [], "/name"), ("a\u202eb", [], "/name"), ("x" * 101, [], "/name"), ("a", ["boss"], "/roles")],
)
async def test_what_makes_no_sense_is_refused(auth: Auth, name: str, roles: list[str], pointer: str) -> None:
    """With its place."""
    with pytest.raises(AuthInvalidInputError) as caught:
        await auth.machines.create(auth.service, name, roles, auth.origin)
    assert [violation.pointer for violation in caught.value.violations] == [pointer]


async def test_they_take_permissions(clock: Any, hasher: Any) -> None:
    """And nobody gives one what they have not themselves; a key manages none, whatever its scopes."""
    from .conftest import DECLARED

    DECLARED["keeper"] = {"service_accounts:write"}
    try:
        auth = build(clock, hasher)
    finally:
        del DECLARED["keeper"]
    ada = Principal(PrincipalKind.USER, (await auth.register()).id, session="s")
    draft = AccountDraft("keeper@example.com", PASSWORD, roles=("keeper",))
    keeper = Principal(PrincipalKind.USER, (await auth.accounts.create(auth.service, draft, auth.origin)).id, session="s")
    account = await auth.machines.create(keeper, "import", ["user"], auth.origin)
    root = await _admin(auth)
    asked: list[tuple[type[Exception], Any]] = [
        (PermissionDeniedError, lambda: auth.machines.create(keeper, "a", ["clerk"], auth.origin)),
        (PermissionDeniedError, lambda: auth.machines.page(keeper, 0, "")),
        (PermissionDeniedError, lambda: auth.machines.create(ada, "a", [], auth.origin)),
        (PermissionDeniedError, lambda: auth.machines.delete(ada, account.id, auth.origin)),
        (PermissionDeniedError, lambda: auth.machines.delete(ada, "nobody", auth.origin)),
    ]
    as_key = replace(root, session="", is_key=True, scopes=frozenset({"*"}))
    asked += [
        (ApiKeyNotEnoughError, lambda: auth.machines.create(as_key, "a", [], auth.origin)),
        (ApiKeyNotEnoughError, lambda: auth.machines.page(as_key, 0, "")),
        (ApiKeyNotEnoughError, lambda: auth.machines.delete(as_key, account.id, auth.origin)),
    ]
    for kind, ask in asked:
        with pytest.raises(kind):
            await ask()
    await auth.machines.delete(keeper, account.id, auth.origin)


async def test_every_store_keeps_them(bench: Any) -> None:
    """In order, apart from persons; with its keys one goes, and a person stays."""
    person = await add_account(bench.store, new_account())
    made = []
    for number in range(3):
        account = replace(_machine(), name=f"m{number}", roles=("clerk", "user"))
        async with bench.store.transaction() as transaction:
            await transaction.add_service_account(account)
        made.append(account)
    assert await bench.other.service_accounts("default", "", 2) == made[:2]
    assert await bench.other.service_accounts("default", made[1].id, 2) == made[2:]
    assert await bench.other.service_accounts("another", "", 2) == []
    assert (await bench.other.account("default", made[0].id)).roles == ("clerk", "user")
    keys = sorted([(await _key(bench.store, made[0].id)).id for _ in range(2)])
    async with bench.store.transaction() as transaction:
        assert await transaction.remove_service_account("default", made[0].id) == keys
        for other in (made[0].id, person.id, "x", ""):
            assert await transaction.remove_service_account("default", other) is None
    assert await bench.other.api_keys_by_id(keys) == {}
    assert await bench.other.account("default", made[0].id) is None
    assert await bench.other.account("default", person.id) == person


def _machine() -> Any:
    from stylobate.ids import new_id
    from stylobate_auth.service_account import ServiceAccount

    return ServiceAccount("default", new_id(), "m", (), NOW)
