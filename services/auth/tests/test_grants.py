"""Grants: who gives and takes them, what they permit, and how they end."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.errors import InvalidInputError, PermissionDeniedError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import ApiKeyNotEnoughError
from stylobate_auth.api_key import ApiKeyDraft
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError, GrantUnknownError, RoleUnknownError
from stylobate_auth.grant import Grant, GrantQuery, GrantQuestion
from stylobate_auth.model import AccountDraft, Decision, Question
from stylobate_auth.role import RoleDraft
from stylobate_auth.role_book import GRANT, DefinedRole, Reason

from .conftest import PASSWORD, Auth
from .stores import NOW, add_account, new_account

ORDER = "state/orders/42"


async def _person(auth: Auth, name: str, *roles: str) -> Principal:
    draft = AccountDraft(f"{name}@example.com", PASSWORD, roles=roles)
    return Principal(PrincipalKind.USER, (await auth.accounts.create(auth.service, draft, auth.origin)).id, session="s")


async def _may(auth: Auth, who: Principal, permission: str, resource: str = "") -> Decision:
    return (await auth.access.check(auth.service, [Question(who.id, permission, resource=resource)]))[0]


async def test_a_grant_is_given_and_taken_away(auth: Auth) -> None:
    """It permits that on this object and on nothing else, with an event, a record and an access version that tells everybody."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    version = (await auth.store.revocations(None)).access_version
    draft = Grant("", ada.id, "orders:read", ORDER)
    given = await auth.grants.put(root, draft, auth.origin)
    assert given == Grant("default", ada.id, "orders:read", ORDER, None, auth.clock(), root.id)
    assert await auth.grants.put(root, draft, auth.origin) == given
    assert await _may(auth, ada, "orders:read") == Decision(granted=(ORDER,))
    assert (await _may(auth, ada, "orders:read", ORDER)).is_allowed
    assert not (await _may(auth, ada, "orders:read", "state/orders/43")).is_allowed
    assert not (await _may(auth, ada, "orders:read", "state/orders/")).is_allowed
    assert not (await _may(auth, ada, "orders:ship", ORDER)).is_allowed
    assert not (await _may(auth, root, "orders:read", ORDER)).granted
    assert await auth.grants.page(ada, GrantQuery(), 0, "") == ([given], "")
    assert (await auth.store.revocations(None)).access_version == version + 1
    await auth.grants.remove(root, draft, auth.origin)
    assert await _may(auth, ada, "orders:read") == Decision()
    assert (await auth.store.revocations(None)).access_version == version + 2
    assert [event.type for event in auth.store.events[-2:]] == ["auth.grant.given", "auth.grant.removed"]
    assert [(record.action, record.actor, record.target) for record in auth.store.records[-2:]] == [
        ("auth.grant.give", root.id, f"user:{ada.id}"),
        ("auth.grant.remove", root.id, f"user:{ada.id}"),
    ]
    with pytest.raises(GrantUnknownError):
        await auth.grants.remove(root, draft, auth.origin)


async def test_what_can_be_no_name_is_granted_nothing(auth: Auth) -> None:
    """Else anybody could ask about a name of a million parts, each of which would be looked up."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    await auth.grants.put(root, Grant("", ada.id, "orders:*", "docs/"), auth.origin)
    assert (await _may(auth, ada, "orders:ship", "docs/a/b")).is_allowed
    for resource in ("docs/" + "a/" * 300, "docs//b", "docs/../b", "docs/a\0"):
        assert await _may(auth, ada, "orders:ship", resource) == Decision()
    assert await _may(auth, ada, "orders" + ":a" * 200, "docs/a/b") == Decision()
    assert await _may(auth, ada, "orders" + ":a" * 200) == Decision()


async def test_prefixes_areas_and_roles(auth: Auth) -> None:
    """A prefix is for all below it, an area for its permissions, a role for all who hold it or one that inherits from it."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    for draft in (
        Grant("", ada.id, "orders:*", "docs/a/"),
        Grant("", "role:user", "orders:read", "state/orders/1"),
        Grant("", ada.id, "orders:read", "state/orders/1"),
    ):
        await auth.grants.put(root, draft, auth.origin)
    assert (await _may(auth, ada, "orders:ship", "docs/a/b/c")).is_allowed
    assert not (await _may(auth, ada, "orders:ship", "docs/ab")).is_allowed
    assert (await _may(auth, ada, "orders:read")).granted == ("docs/a/", "state/orders/1")
    await auth.definitions.put(root, DefinedRole("", "team", "", (), ("clerk",)), auth.origin)
    await auth.grants.put(root, Grant("", "role:clerk", "orders:create", "docs/x"), auth.origin)
    await auth.roles.assign(root, ada.id, RoleDraft("team"), auth.origin)
    explained = await auth.access.explain(root, ada.id, "users:read", "docs/x")
    assert not explained.is_allowed
    explained = await auth.access.explain(root, ada.id, "orders:create", "docs/x")
    assert explained.reasons[-1] == Reason("team", ("clerk",), "orders:create", GRANT, "docs/x")
    question = Question(ada.id, "orders:read")
    assert await auth.access.granted(ada, question, "state/orders/", 0, "") == (["state/orders/1"], "")
    first, token = await auth.access.granted(ada, question, "", 1, "")
    assert (first, await auth.access.granted(ada, question, "", 1, token)) == (["docs/a/"], (["state/orders/1"], ""))
    with pytest.raises(InvalidInputError):
        await auth.access.granted(ada, question, "state/", 1, token)


async def test_who_gives_must_hold_it_there(auth: Auth) -> None:
    """``grants:write`` alone gives nothing; a key gives nothing; what there cannot be is refused with its place."""
    root, keeper, ada = await _person(auth, "root", "admin"), await _person(auth, "keeper"), await _person(auth, "ada")
    await auth.definitions.put(root, DefinedRole("", "keeper", "", ("grants:write",), ()), auth.origin)
    draft = Grant("", ada.id, "orders:read", ORDER)
    with pytest.raises(PermissionDeniedError):
        await auth.grants.put(keeper, draft, auth.origin)
    await auth.roles.assign(root, keeper.id, RoleDraft("keeper"), auth.origin)
    with pytest.raises(PermissionDeniedError) as refused:
        await auth.grants.put(keeper, draft, auth.origin)
    assert refused.value.metadata["permission"] == "orders:read"
    await auth.grants.put(root, Grant("", keeper.id, "orders:read", ORDER), auth.origin)
    await auth.grants.put(keeper, draft, auth.origin)
    for other in (replace(draft, resource="state/orders/43"), replace(draft, resource="state/orders/")):
        with pytest.raises(PermissionDeniedError) as refused:
            await auth.grants.put(keeper, other, auth.origin)
        assert refused.value.metadata == {"permission": "orders:read", "resource": other.resource}
    with pytest.raises(PermissionDeniedError):
        await auth.grants.page(keeper, GrantQuery(ada.id), 0, "")
    as_key = Principal(PrincipalKind.USER, root.id, is_key=True, scopes=frozenset({"*"}))
    with pytest.raises(ApiKeyNotEnoughError):
        await auth.grants.put(as_key, draft, auth.origin)
    for place, wrong in {
        "/subject": replace(draft, subject="ada@example.com"),
        "/permission": replace(draft, permission="orders:raed"),
        "/resource": replace(draft, resource="state/ordres/42"),
        "/expires_at": replace(draft, expires_at=auth.clock()),
    }.items():
        with pytest.raises(AuthInvalidInputError) as invalid:
            await auth.grants.put(root, wrong, auth.origin)
        assert [found.pointer for found in invalid.value.violations] == [place]
    with pytest.raises(AccountUnknownError):
        await auth.grants.put(root, replace(draft, subject="0" * 36), auth.origin)
    with pytest.raises(RoleUnknownError):
        await auth.grants.put(root, replace(draft, subject="role:boss"), auth.origin)


async def test_nobody_gives_for_longer_than_it_has(auth: Auth) -> None:
    """Else what is granted for an hour is given on, also to oneself, for good. Who holds it by a role as well is not bound."""
    root, keeper, ada = await _person(auth, "root", "admin"), await _person(auth, "keeper"), await _person(auth, "ada")
    await auth.definitions.put(root, DefinedRole("", "keeper", "", ("grants:write",), ()), auth.origin)
    await auth.roles.assign(root, keeper.id, RoleDraft("keeper"), auth.origin)
    end = auth.clock() + timedelta(hours=1)
    await auth.grants.put(root, Grant("", keeper.id, "orders:read", "state/orders/", end), auth.origin)
    for subject in (keeper.id, ada.id):
        for longer in (None, end + timedelta(seconds=1)):
            with pytest.raises(AuthInvalidInputError) as refused:
                await auth.grants.put(keeper, Grant("", subject, "orders:read", ORDER, longer), auth.origin)
            assert [found.pointer for found in refused.value.violations] == ["/expires_at"]
        await auth.grants.put(keeper, Grant("", subject, "orders:read", ORDER, end), auth.origin)
    await auth.grants.put(root, Grant("", "role:keeper", "orders:read", ORDER), auth.origin)
    await auth.grants.put(keeper, Grant("", ada.id, "orders:read", ORDER), auth.origin)
    await auth.grants.remove(root, Grant("", "role:keeper", "orders:read", ORDER), auth.origin)
    await auth.definitions.put(root, DefinedRole("", "keeper", "", ("grants:write", "orders:read"), ()), auth.origin)
    await auth.grants.put(keeper, Grant("", ada.id, "orders:read", "state/orders/43"), auth.origin)


async def test_what_is_granted_is_handed_on_by_nobody_who_lacks_it(auth: Auth) -> None:
    """Neither by giving a role that is granted something, nor by inheriting from it, nor by a key of an account that is."""
    root, keeper, ada = await _person(auth, "root", "admin"), await _person(auth, "keeper"), await _person(auth, "ada")
    may = ("api_keys:write", "roles:assign", "roles:write")
    await auth.definitions.put(root, DefinedRole("", "keeper", "", may, ()), auth.origin)
    await auth.definitions.put(root, DefinedRole("", "staff", "", (), ()), auth.origin)
    await auth.roles.assign(root, keeper.id, RoleDraft("keeper"), auth.origin)
    for subject in ("role:staff", ada.id):
        await auth.grants.put(root, Grant("", subject, "orders:read", ORDER), auth.origin)
    inheriting = DefinedRole("", "heir", "", (), ("staff",))
    key = ApiKeyDraft("key", ("*",), owner=ada.id)
    for _ in range(2):
        with pytest.raises(PermissionDeniedError) as refused:
            await auth.roles.assign(keeper, keeper.id, RoleDraft("staff"), auth.origin)
        assert refused.value.metadata["permission"] == "orders:read"
        with pytest.raises(PermissionDeniedError):
            await auth.definitions.put(keeper, inheriting, auth.origin)
        with pytest.raises(PermissionDeniedError):
            await auth.keys.create(keeper, key, auth.origin)
        await auth.grants.put(root, Grant("", keeper.id, "orders:read", "state/orders/43"), auth.origin)
    await auth.grants.put(root, Grant("", keeper.id, "orders:read", "state/orders/"), auth.origin)
    await auth.definitions.put(keeper, inheriting, auth.origin)
    await auth.keys.create(keeper, key, auth.origin)
    await auth.roles.assign(keeper, keeper.id, RoleDraft("staff"), auth.origin)


async def test_scopes_narrow_grants(auth: Auth) -> None:
    """A key whose scopes do not cover the permission has no grant of its owner's."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    await auth.grants.put(root, Grant("", ada.id, "orders:read", ORDER), auth.origin)
    for scopes, found in (({"orders:read"}, (ORDER,)), ({"orders:ship"}, ())):
        key = replace(ada, is_key=True, scopes=frozenset(scopes))
        assert (await auth.access.check(key, [Question(ada.id, "orders:read")]))[0].granted == found
        assert (await auth.access.granted(key, Question(ada.id, "orders:read"), "", 0, ""))[0] == [*found]


async def test_a_grant_ends(auth: Auth) -> None:
    """At its end for whoever asks; then it is removed and every process is told; with its account, and with its role."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    end = auth.clock() + timedelta(seconds=30)
    await auth.grants.put(root, Grant("", ada.id, "orders:read", ORDER, end), auth.origin)
    assert await auth.grants.end_due() == end
    auth.clock.advance(timedelta(seconds=30))
    assert await _may(auth, ada, "orders:read") == Decision()
    version = (await auth.store.revocations(None)).access_version
    assert await auth.grants.end_due() is None
    assert b'"reason":"expired"' in auth.store.events[-1].data
    assert (await auth.store.revocations(None)).access_version == version + 1
    machine = await auth.machines.create(root, "import", ["user"], auth.origin)
    await auth.definitions.put(root, DefinedRole("", "team", "", (), ()), auth.origin)
    for subject in (ada.id, machine.id, "role:team"):
        await auth.grants.put(root, Grant("", subject, "orders:read", ORDER), auth.origin)
    await auth.eraser.delete(root, ada.id, auth.origin)
    await auth.machines.delete(root, machine.id, auth.origin)
    await auth.definitions.delete(root, "team", auth.origin)
    assert await auth.grants.page(root, GrantQuery(), 0, "", is_everyone=True) == ([], "")


async def test_every_store_keeps_them(bench: Any) -> None:
    """Given, replaced, found by question, listed in pages, ended once and taken away, as bytes are ordered."""
    person = await add_account(bench.store, new_account())
    soon = NOW + timedelta(seconds=5)

    def one(subject: str, permission: str, resource: str, end: Any = None, tenant: str = "default") -> Grant:
        return Grant(tenant, subject, permission, resource, end, NOW, "root")

    kept = [
        one(person.id, "orders:read", "state/orders/B"),
        one(person.id, "orders:read", "state/orders/a", soon),
        one(person.id, "orders:*", "state/orders/é"),
        one("role:user", "orders:read", "state/orders/a"),
        one("role:user", "*", "docs/"),
        one(person.id, "orders:read", "state/orders/c", tenant="another"),
    ]
    async with bench.store.transaction() as transaction:
        assert await transaction.grant(kept[0]) is None
        await transaction.put_grant(replace(kept[0], expires_at=soon))
        for grant in kept:
            await transaction.put_grant(grant)
        assert await transaction.grant(kept[0]) == kept[0]
    mine = GrantQuestion("default", (person.id,), ("orders:read", "orders:*", "*"))
    ours = replace(mine, subjects=(person.id, "role:user"))
    odd = GrantQuestion("default", ("no\0body",), ("*",), ("docs/",))
    assert await bench.other.granted([mine, odd, ours], NOW, 10) == [
        ["state/orders/B", "state/orders/a", "state/orders/é"],
        [],
        ["docs/", "state/orders/B", "state/orders/a", "state/orders/é"],
    ]
    assert await bench.other.granted([mine], soon, 10) == [["state/orders/B", "state/orders/é"]]
    assert await bench.other.granted([ours], NOW, 2) == [["docs/", "state/orders/B"]]
    assert await bench.other.granted([], NOW, 2) == []
    assert await bench.other.granted_under(ours, "state/", "", NOW, 2) == ["state/orders/B", "state/orders/a"]
    assert await bench.other.granted_under(ours, "state/", "state/orders/a", NOW, 2) == ["state/orders/é"]
    assert await bench.other.granted_under(ours, "docs/", "", NOW, 2) == []
    assert await bench.other.granted_under(ours, "", "", NOW, 1) == ["docs/"]
    on = replace(ours, resources=("state/orders/a", "state/orders/"))
    assert await bench.other.covering_grants([odd, on], NOW) == [[], [kept[1], kept[3]]]
    assert await bench.other.covering_grants([on], soon) == [[kept[3]]]
    listed = await bench.other.grants("default", GrantQuery(person.id), None, NOW, 10)
    assert listed == [kept[2], kept[0], kept[1]]
    place = (listed[0].subject, listed[0].permission, listed[0].resource)
    assert await bench.other.grants("default", GrantQuery(person.id), place, NOW, 1) == [kept[0]]
    everyones = await bench.other.grants("default", GrantQuery(), None, NOW, 10)
    assert everyones == [*listed, kept[4], kept[3]]
    place = (everyones[1].subject, everyones[1].permission, everyones[1].resource)
    assert await bench.other.grants("default", GrantQuery(), place, NOW, 1) == [everyones[2]]
    assert await bench.other.grants("default", GrantQuery(resource="state/orders/a"), None, soon, 10) == [kept[3]]
    assert len(await bench.other.grants("default", GrantQuery(permission="orders:read", resource="state/"), None, NOW, 10)) == 3
    assert await bench.other.next_grant_end() == soon
    async with bench.store.transaction() as transaction:
        assert await transaction.end_grants(soon, 10) == [kept[1]]
        assert await transaction.end_grants(soon, 10) == []
        assert await transaction.remove_grant(kept[3])
        assert not await transaction.remove_grant(kept[3])
        await transaction.begin_deletion("default", person.id, NOW)
    assert await bench.other.next_grant_end() is None
    assert await bench.other.grants("default", GrantQuery(), None, NOW, 10) == [kept[4]]
