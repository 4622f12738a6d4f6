"""Roles of accounts: who gives and takes them, what stays, and how they end."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.errors import PermissionDeniedError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import ApiKeyNotEnoughError
from stylobate.testing.until import until
from stylobate_auth.api_key import ApiKeyDraft
from stylobate_auth.endings import Endings
from stylobate_auth.errors import (
    AccountUnknownError,
    AuthInvalidInputError,
    LastAdministratorError,
    RoleKeptError,
    RoleNotHeldError,
    RoleUnknownError,
)
from stylobate_auth.grant import Grant
from stylobate_auth.model import AccountDraft, Question
from stylobate_auth.role import EndedRole, HeldRole, RoleDraft
from stylobate_auth.role_book import DefinedRole

from .conftest import PASSWORD, Auth, build
from .stores import NOW, add_account, new_account


async def _person(auth: Auth, name: str, *roles: str) -> Principal:
    draft = AccountDraft(f"{name}@example.com", PASSWORD, roles=roles)
    return Principal(PrincipalKind.USER, (await auth.accounts.create(auth.service, draft, auth.origin)).id, session="s")


async def _may_ship(auth: Auth, who: Principal) -> bool:
    return (await auth.access.check(auth.service, [Question(who.id, "orders:ship")]))[0].is_allowed


async def test_a_role_is_given_and_taken_away(auth: Auth) -> None:
    """With an event, a record, and an access version that tells every process; twice the same is one change."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    version = (await auth.store.revocations(None)).access_version
    held = await auth.roles.assign(root, ada.id, RoleDraft("clerk"), auth.origin)
    assert held == HeldRole("clerk", None, auth.clock(), root.id)
    assert await auth.roles.assign(root, ada.id, RoleDraft("clerk"), auth.origin) == held
    assert await _may_ship(auth, ada)
    assert await auth.roles.of_account(ada, "") == [held, HeldRole("user")]
    assert (await auth.store.revocations(None)).access_version == version + 1
    await auth.roles.remove(root, ada.id, "clerk", auth.origin)
    assert not await _may_ship(auth, ada)
    assert (await auth.store.revocations(None)).access_version == version + 2
    assert [event.type for event in auth.store.events[-2:]] == ["auth.role.assigned", "auth.role.removed"]
    assert [(record.action, record.actor, record.target) for record in auth.store.records[-2:]] == [
        ("auth.role.assign", root.id, f"user:{ada.id}"),
        ("auth.role.remove", root.id, f"user:{ada.id}"),
    ]
    with pytest.raises(RoleNotHeldError):
        await auth.roles.remove(root, ada.id, "clerk", auth.origin)


async def test_a_role_ends_by_itself(auth: Auth) -> None:
    """At its end for whoever asks; a moment later it is removed, and every process is told."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    end = auth.clock() + timedelta(seconds=30)
    await auth.roles.assign(root, ada.id, RoleDraft("clerk", end), auth.origin)
    assert await auth.roles.end_due() == end
    assert await _may_ship(auth, ada)
    version = (await auth.store.revocations(None)).access_version
    auth.clock.advance(timedelta(seconds=30))
    assert not await _may_ship(auth, ada)
    assert [held.role for held in await auth.roles.of_account(ada, "")] == ["user"]
    task = asyncio.create_task(Endings(auth.store, [auth.roles.end_due, auth.grants.end_due], clock=auth.clock).run())
    await until(lambda: auth.store.events[-1].type == "auth.role.removed")
    task.cancel()
    assert b'"reason":"expired"' in auth.store.events[-1].data
    assert (await auth.store.revocations(None)).access_version == version + 1
    assert await auth.roles.end_due() is None


async def test_who_gives_must_hold_what_it_gives(clock: Any, hasher: Any) -> None:
    """And takes away no more; a key gives nothing; nobody learns which accounts and roles there are."""
    from .conftest import DECLARED

    DECLARED["keeper"] = {"roles:assign", "orders:ship", "orders:read"}
    try:
        auth = build(clock, hasher)
    finally:
        del DECLARED["keeper"]
    root, keeper, ada = await _person(auth, "root", "admin"), await _person(auth, "keeper", "keeper"), await _person(auth, "ada")
    as_key = Principal(PrincipalKind.USER, root.id, is_key=True, scopes=frozenset({"*"}))
    await auth.roles.assign(keeper, ada.id, RoleDraft("clerk"), auth.origin)
    await auth.roles.remove(keeper, ada.id, "clerk", auth.origin)
    asked: list[tuple[type[Exception], Any]] = [
        (PermissionDeniedError, lambda: auth.roles.assign(keeper, ada.id, RoleDraft("manager"), auth.origin)),
        (PermissionDeniedError, lambda: auth.roles.remove(keeper, root.id, "admin", auth.origin)),
        (PermissionDeniedError, lambda: auth.roles.of_account(keeper, ada.id)),
        (PermissionDeniedError, lambda: auth.roles.assign(ada, ada.id, RoleDraft("user"), auth.origin)),
        (PermissionDeniedError, lambda: auth.roles.assign(ada, "nobody", RoleDraft("nothing"), auth.origin)),
        (ApiKeyNotEnoughError, lambda: auth.roles.assign(as_key, ada.id, RoleDraft("clerk"), auth.origin)),
        (ApiKeyNotEnoughError, lambda: auth.roles.remove(as_key, ada.id, "clerk", auth.origin)),
        (ApiKeyNotEnoughError, lambda: auth.roles.of_account(as_key, "")),
        (RoleUnknownError, lambda: auth.roles.assign(root, ada.id, RoleDraft("boss"), auth.origin)),
        (AccountUnknownError, lambda: auth.roles.assign(root, "nobody", RoleDraft("clerk"), auth.origin)),
        (AccountUnknownError, lambda: auth.roles.of_account(root, "nobody")),
        (AuthInvalidInputError, lambda: auth.roles.assign(root, ada.id, RoleDraft("clerk", auth.clock()), auth.origin)),
    ]
    for kind, ask in asked:
        with pytest.raises(kind):
            await ask()


async def test_nobody_hands_on_a_role_for_longer_than_it_has_it(auth: Auth) -> None:
    """Else who is an administrator for an hour is one for good: by roles, accounts, machines, grants or keys of others."""
    root, guest, ada = await _person(auth, "root", "admin"), await _person(auth, "guest"), await _person(auth, "ada")
    end = auth.clock() + timedelta(hours=1)
    later = end + timedelta(seconds=1)
    await auth.roles.assign(root, guest.id, RoleDraft("admin", end), auth.origin)
    await auth.roles.assign(root, guest.id, RoleDraft("clerk"), auth.origin)
    strong = DefinedRole("", "strong", "", ("users:write",), ())
    await auth.definitions.put(root, strong, auth.origin)
    machine = await auth.machines.create(root, "import", ["manager"], auth.origin)
    endless, _ = await auth.keys.create(root, ApiKeyDraft("a", ("*",), owner=machine.id), auth.origin)
    forged = AccountDraft("eve@example.com", PASSWORD, roles=("admin",))
    place = "state/orders/42"
    asked: list[tuple[str, Any]] = [
        ("/expires_at", lambda: auth.roles.assign(guest, guest.id, RoleDraft("admin"), auth.origin)),
        ("/expires_at", lambda: auth.roles.assign(guest, ada.id, RoleDraft("strong", later), auth.origin)),
        ("/expires_at", lambda: auth.grants.put(guest, Grant("", ada.id, "users:write", place), auth.origin)),
        ("/expires_at", lambda: auth.grants.put(guest, Grant("", "role:user", "limits:write", place, later), auth.origin)),
        ("/expires_at", lambda: auth.keys.create(guest, ApiKeyDraft("a", ("*",), owner=machine.id), auth.origin)),
        ("/expires_at", lambda: auth.keys.rotate(guest, endless.id, timedelta(0), auth.origin)),
        ("/roles", lambda: auth.accounts.create(guest, forged, auth.origin)),
        ("/roles", lambda: auth.machines.create(guest, "door", ["admin"], auth.origin)),
        ("/permissions", lambda: auth.definitions.put(guest, DefinedRole("", "own", "", ("*",), ()), auth.origin)),
        ("/inherits", lambda: auth.definitions.put(guest, DefinedRole("", "own", "", (), ("heir",)), auth.origin)),
    ]
    await auth.definitions.put(root, DefinedRole("", "heir", "", (), ()), auth.origin)
    await auth.grants.put(root, Grant("", "role:heir", "users:read", "docs/"), auth.origin)
    for pointer, ask in asked:
        with pytest.raises(AuthInvalidInputError) as refused:
            await ask()
        assert [found.pointer for found in refused.value.violations] == [pointer]
    await auth.roles.assign(guest, ada.id, RoleDraft("admin", end), auth.origin)
    await auth.roles.assign(guest, ada.id, RoleDraft("clerk"), auth.origin)  # that it has for good
    await auth.grants.put(guest, Grant("", ada.id, "users:write", place, end), auth.origin)
    await auth.grants.put(guest, Grant("", ada.id, "orders:read", place), auth.origin)
    ending, _ = await auth.keys.create(guest, ApiKeyDraft("b", ("*",), owner=machine.id, expires_at=end), auth.origin)
    await auth.keys.rotate(guest, ending.id, timedelta(0), auth.origin)
    await auth.keys.revoke(guest, endless.id, auth.origin)  # nobody waits for an administrator to end a key that leaked
    await auth.definitions.put(guest, replace(strong, description="Only told otherwise"), auth.origin)


async def test_a_grant_of_a_role_lasts_as_long_as_the_role(auth: Auth) -> None:
    """What somebody may by a role that ends it hands on until then, also where the grant of the role has no end."""
    root, guest, ada = await _person(auth, "root", "admin"), await _person(auth, "guest"), await _person(auth, "ada")
    end = auth.clock() + timedelta(hours=1)
    await auth.definitions.put(root, DefinedRole("", "keeper", "", ("grants:write",), ()), auth.origin)
    await auth.definitions.put(root, DefinedRole("", "team", "", (), ()), auth.origin)
    await auth.grants.put(root, Grant("", "role:team", "orders:read", "docs/"), auth.origin)
    await auth.roles.assign(root, guest.id, RoleDraft("keeper"), auth.origin)
    await auth.roles.assign(root, guest.id, RoleDraft("team", end), auth.origin)
    with pytest.raises(AuthInvalidInputError):
        await auth.grants.put(guest, Grant("", ada.id, "orders:read", "docs/a"), auth.origin)
    await auth.grants.put(guest, Grant("", ada.id, "orders:read", "docs/a", end), auth.origin)
    await auth.grants.put(root, Grant("", guest.id, "orders:read", "docs/a"), auth.origin)
    await auth.grants.put(guest, Grant("", ada.id, "orders:read", "docs/a"), auth.origin)


async def test_somebody_stays_administrator(auth: Auth) -> None:
    """The last one loses the role neither now nor later; a machine, and one whose role ends, do not count; nor does `user` go."""
    root, other = await _person(auth, "root", "admin"), await _person(auth, "other")
    await auth.machines.create(root, "import", ["admin"], auth.origin)
    later = auth.clock() + timedelta(hours=1)
    await auth.roles.assign(root, other.id, RoleDraft("admin", later), auth.origin)
    with pytest.raises(LastAdministratorError):
        await auth.roles.remove(root, root.id, "admin", auth.origin)
    with pytest.raises(LastAdministratorError):
        await auth.roles.assign(root, root.id, RoleDraft("admin", later), auth.origin)
    with pytest.raises(RoleKeptError):
        await auth.roles.remove(root, other.id, "user", auth.origin)
    await auth.roles.assign(root, other.id, RoleDraft("admin"), auth.origin)
    await auth.roles.remove(other, root.id, "admin", auth.origin)
    with pytest.raises(LastAdministratorError):
        await auth.roles.remove(other, other.id, "admin", auth.origin)


async def test_every_store_keeps_them(bench: Any) -> None:
    """Given, replaced, ended at their time and once, and taken away; the version rises with the transaction."""
    person = await add_account(bench.store, new_account())
    soon, late = NOW + timedelta(seconds=5), NOW + timedelta(days=1)
    version = (await bench.other.revocations(None)).access_version
    async with bench.store.transaction() as transaction:
        assert (await transaction.hold_account("default", "nobody")) is None
        await transaction.put_held_role("default", person.id, HeldRole("clerk", soon, NOW, "root"))
        await transaction.put_held_role("default", person.id, HeldRole("clerk", late, NOW, "root"))
        await transaction.put_held_role("default", person.id, HeldRole("zeal", soon, NOW, "root"))
        await transaction.put_held_role("default", person.id, HeldRole("admin"))
        await transaction.change_access()
        held = await transaction.held_roles("default", person.id)
    names = [*person.roles]
    assert held == [
        HeldRole("admin"),
        HeldRole("clerk", late, NOW, "root"),
        *map(HeldRole, names),
        HeldRole("zeal", soon, NOW, "root"),
    ]
    assert await bench.other.held_roles("default", person.id) == held
    assert (await bench.other.revocations(None)).access_version == version + 1
    subject = ("default", person.id)
    assert (await bench.other.roles([subject], NOW))[1][subject] == ("admin", "clerk", *names, "zeal")
    assert (await bench.other.roles([subject], soon))[1][subject] == ("admin", "clerk", *names)
    assert await bench.other.next_role_end() == soon
    async with bench.store.transaction() as transaction:
        assert await transaction.hold_administrators("default") == {person.id}
        assert await transaction.hold_administrators("another") == set()
        assert await transaction.end_roles(soon, 10) == [EndedRole("default", person.id, "zeal")]
        assert await transaction.end_roles(soon, 10) == []
        await transaction.remove_held_role("default", person.id, "clerk")
    assert await bench.other.next_role_end() is None
    assert (await bench.other.account("default", person.id)).roles == ("admin", *names)
