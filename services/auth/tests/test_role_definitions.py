"""Roles in the database: what they permit, who makes them, what is refused; and decisions that are explained."""

import asyncio
from typing import Any

import pytest
from stylobate.errors import InvalidInputError, PermissionDeniedError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import ApiKeyNotEnoughError
from stylobate.identity.platform_permissions import PLATFORM_PERMISSIONS
from stylobate.testing.syntax import tree_of
from stylobate.testing.until import until
from stylobate_auth.errors import AuthInvalidInputError, RoleDeclaredError, RoleInheritedError, RoleUnknownError
from stylobate_auth.model import AccountDraft, Question
from stylobate_auth.role import HeldRole, RoleDraft
from stylobate_auth.role_book import DefinedRole, Reason

from .conftest import PASSWORD, Auth
from .stores import NOW, add_account, new_account
from .test_roles import _person


def _role(name: str, *permissions: str, inherits: tuple[str, ...] = (), description: str = "") -> DefinedRole:
    return DefinedRole("", name, description, permissions, inherits)


async def _may(auth: Auth, who: Principal, permission: str) -> bool:
    return (await auth.access.check(auth.service, [Question(who.id, permission)]))[0].is_allowed


async def test_a_role_permits_what_it_says_and_inherits(auth: Auth) -> None:
    """From the moment that it is kept, in another process too; the decision says which role, through what, from where."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    await auth.definitions.put(root, _role("base", "users:read"), auth.origin)
    made = await auth.definitions.put(root, _role("lead", "bans:*", inherits=("base", "clerk")), auth.origin)
    assert (made.permissions, made.effective) == (("bans:*",), ("bans:*", "orders:read", "orders:ship", "users:read"))
    await auth.roles.assign(root, ada.id, RoleDraft("lead"), auth.origin)
    for permission in ("bans:write", "orders:ship", "users:read", "orders:create"):
        assert await _may(auth, ada, permission), permission
    assert not await _may(auth, ada, "users:write")
    found = await auth.access.explain(root, ada.id, "orders:ship")
    assert (found.is_allowed, found.reasons) == (True, [Reason("lead", ("clerk",), "orders:ship", "shop")])
    assert (await auth.access.explain(ada, "", "bans:read")).reasons == [Reason("lead", (), "bans:*", "database")]
    assert (await auth.access.explain(root, "", "bans:read")).reasons == [Reason("admin", (), "*", "builtin")]
    missing = await auth.access.explain(root, ada.id, "users:write")
    assert (missing.is_allowed, missing.reasons, missing.would_permit) == (False, (), ["admin"])
    assert not (await auth.access.explain(ada, "", "users:write")).would_permit
    version = (await auth.store.revocations(None)).access_version
    await auth.definitions.put(root, _role("base", "limits:read"), auth.origin)
    assert (await auth.store.revocations(None)).access_version == version + 1
    assert (await _may(auth, ada, "users:read"), await _may(auth, ada, "limits:read")) == (False, True)
    assert [event.type for event in auth.store.events[-4:]] == [
        "auth.role.created",
        "auth.role.created",
        "auth.role.assigned",
        "auth.role.changed",
    ]


async def test_a_role_that_is_deleted_is_held_by_nobody(auth: Auth) -> None:
    """Also when one of its name is made again; one that others inherit from stays."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    await auth.definitions.put(root, _role("base", "orders:ship"), auth.origin)
    await auth.definitions.put(root, _role("heir", inherits=("base",)), auth.origin)
    await auth.roles.assign(root, ada.id, RoleDraft("base"), auth.origin)
    with pytest.raises(RoleInheritedError, match="heir"):
        await auth.definitions.delete(root, "base", auth.origin)
    await auth.definitions.delete(root, "heir", auth.origin)
    await auth.definitions.delete(root, "base", auth.origin)
    assert not await _may(auth, ada, "orders:ship")
    await auth.definitions.put(root, _role("base", "orders:ship"), auth.origin)
    assert not await _may(auth, ada, "orders:ship")
    assert [view.name for view in await auth.definitions.all(root)] == ["admin", "base", "clerk", "manager", "user"]
    assert (await auth.definitions.get(root, "clerk")).declared_by == ("shop",)


@pytest.mark.parametrize(
    ("role", "pointers"),
    [
        (_role("Lead", description="a\nb"), ["/name", "/description"]),
        (_role("lead", "orders:read", "orders:fly", "nothing:*", "*"), ["/permissions/1", "/permissions/2"]),
        (_role("lead", inherits=("clerk", "nobody", "lead")), ["/inherits/1", "/inherits/2"]),
        (_role("a", inherits=("c",)), ["/inherits/0"]),
        (_role("lead", *["*"] * 257, inherits=("clerk",) * 33), ["/permissions", "/inherits"]),
    ],
)
async def test_what_makes_no_sense_is_refused(auth: Auth, role: DefinedRole, pointers: list[str]) -> None:
    """Unknown permissions and roles, cycles of any length, with their places; and nothing is kept."""
    root = await _person(auth, "root", "admin")
    for kept in (_role("a"), _role("b", inherits=("a",)), _role("c", inherits=("b",))):
        await auth.definitions.put(root, kept, auth.origin)
    before = await auth.definitions.all(root)
    with pytest.raises(AuthInvalidInputError) as caught:
        await auth.definitions.put(root, role, auth.origin)
    assert [violation.pointer for violation in caught.value.violations] == pointers
    assert await auth.definitions.all(root) == before


async def test_who_makes_roles_must_hold_what_they_permit(auth: Auth) -> None:
    """Before and afterwards; declared ones cannot be changed; a key changes none."""
    root, ada = await _person(auth, "root", "admin"), await _person(auth, "ada")
    await auth.definitions.put(root, _role("maker", "roles:write", "orders:ship"), auth.origin)
    await auth.definitions.put(root, _role("strong", "users:write"), auth.origin)
    await auth.roles.assign(root, ada.id, RoleDraft("maker"), auth.origin)
    await auth.definitions.put(ada, _role("own", "orders:ship"), auth.origin)
    as_key = Principal(PrincipalKind.USER, root.id, is_key=True, scopes=frozenset({"*"}))
    asked: list[tuple[type[Exception], Any]] = [
        (PermissionDeniedError, lambda: auth.definitions.put(ada, _role("own", "orders:read"), auth.origin)),
        (PermissionDeniedError, lambda: auth.definitions.put(ada, _role("own", inherits=("strong",)), auth.origin)),
        (PermissionDeniedError, lambda: auth.definitions.put(ada, _role("strong"), auth.origin)),
        (PermissionDeniedError, lambda: auth.definitions.delete(ada, "strong", auth.origin)),
        (PermissionDeniedError, lambda: auth.definitions.all(ada)),
        (PermissionDeniedError, lambda: auth.access.explain(ada, root.id, "orders:ship")),
        (ApiKeyNotEnoughError, lambda: auth.definitions.put(as_key, _role("own"), auth.origin)),
        (RoleDeclaredError, lambda: auth.definitions.put(root, _role("clerk"), auth.origin)),
        (RoleDeclaredError, lambda: auth.definitions.delete(root, "admin", auth.origin)),
        (RoleUnknownError, lambda: auth.definitions.delete(root, "nobody", auth.origin)),
        (RoleUnknownError, lambda: auth.definitions.get(root, "nobody")),
        (InvalidInputError, lambda: auth.access.explain(root, "", "orders:fly")),
    ]
    for kind, ask in asked:
        with pytest.raises(kind):
            await ask()


async def test_a_key_is_told_that_its_scopes_are_the_matter(auth: Auth) -> None:
    """Its owner may, and it may not."""
    ada = await _person(auth, "ada", "clerk")
    key = Principal(PrincipalKind.USER, ada.id, is_key=True, scopes=frozenset({"orders:read"}))
    found = await auth.access.explain(key, "", "orders:ship")
    assert (found.is_allowed, len(found.reasons)) == (False, 1)
    assert (await auth.access.explain(key, "", "orders:read")).is_allowed


async def test_every_store_keeps_them(bench: Any) -> None:
    """Replaced by name, removed with what is held of them, each tenant's apart."""
    person = await add_account(bench.store, new_account(roles=("lead", "user")))
    first = DefinedRole("default", "lead", "Leads", ("bans:*", "orders:read"), ("clerk",), NOW)
    second = DefinedRole("default", "lead", "", (), (), NOW)
    other = DefinedRole("another", "lead", "", ("*",), (), NOW)
    for role in (first, other):
        async with bench.store.transaction() as transaction:
            await transaction.hold_defined_roles()
            await transaction.put_defined_role(role)
    assert sorted((await bench.other.defined_roles())[1], key=lambda role: role.tenant) == [other, first]
    async with bench.store.transaction() as transaction:
        await transaction.put_defined_role(second)
        assert second in await transaction.hold_defined_roles()
        assert await transaction.hold_roles("default", ["boss", "lead", "no\0ne"]) == {"lead"}
        await transaction.remove_defined_role("default", "lead")
    assert (await bench.other.defined_roles())[1] == [other]
    assert (await bench.other.account("default", person.id)).roles == ("user",)


async def test_there_may_be_more_of_them_than_one_document_holds(bench: Any) -> None:
    """A thousand for each tenant, with all that they may permit, are more than the 16 MB of MongoDB's documents and messages."""
    permissions = tuple(f"orders:{number:02000}" for number in range(256))
    roles = [DefinedRole(f"tenant-{number:02}", "lead", "", permissions, (), NOW) for number in range(36)]
    async with bench.store.transaction() as transaction:
        for role in roles:
            await transaction.put_defined_role(role)
    assert sorted((await bench.other.defined_roles())[1], key=lambda role: role.tenant) == roles


async def test_a_role_that_is_given_is_not_removed_meanwhile(postgres: Any) -> None:
    """Its removal waits for who gives it, and takes it away again; who comes after the removal is told that it is gone."""
    person = await add_account(postgres.store, new_account())
    role = DefinedRole("default", "lead", "", ("orders:read",), (), NOW)
    async with postgres.store.transaction() as transaction:
        await transaction.put_defined_role(role)

    async def remove() -> None:
        async with postgres.other.transaction() as transaction:
            await transaction.hold_defined_roles()
            await transaction.remove_defined_role("default", "lead")

    async def waits() -> bool:
        return bool(await postgres.rows("select from pg_locks where not granted"))

    async with postgres.store.transaction() as transaction:
        assert await transaction.hold_roles("default", ["lead"]) == {"lead"}
        removing = asyncio.create_task(remove())
        await until(waits)
        await transaction.put_held_role("default", person.id, HeldRole("lead"))
    await removing
    assert (await postgres.store.account("default", person.id)).roles == ("user",)
    async with postgres.store.transaction() as transaction:
        assert await transaction.hold_roles("default", ["lead"]) == set()


async def test_an_account_is_not_made_with_a_role_that_goes_meanwhile(auth: Auth) -> None:
    """It was there when it was asked about, and gone once the password was hashed: nothing is made."""
    root = await _person(auth, "root", "admin")
    await auth.definitions.put(root, _role("lead", "orders:read"), auth.origin)
    draft = AccountDraft("ada@example.com", PASSWORD, roles=("lead",))
    made, gone = await asyncio.gather(
        auth.accounts.create(root, draft, auth.origin),
        auth.definitions.delete(root, "lead", auth.origin),
        return_exceptions=True,
    )
    assert (gone, isinstance(made, AuthInvalidInputError)) == (None, True)
    assert [one.pointer for one in getattr(made, "violations", ())] == ["/roles"]
    assert await _person(auth, "ada")


def test_the_platform_knows_its_permissions() -> None:
    """What managers ask for stands in the list, so that a role may hold it."""
    import ast
    from pathlib import Path

    import stylobate
    import stylobate_auth

    asked = set()
    for root in (Path(stylobate.__file__).parent / "audit", *Path(stylobate_auth.__file__).parents[2].glob("*/stylobate_*")):
        for path in root.rglob("*.py"):
            for node in tree_of(path.read_text()).body:
                if isinstance(node, ast.Assign) and path.stem.endswith(("manager", "servicer")):
                    texts = [value.value for value in ast.walk(node.value) if isinstance(value, ast.Constant)]
                    asked |= {
                        text
                        for text in texts
                        if isinstance(text, str) and text.endswith((":read", ":write", ":create", ":assign"))
                    }
    assert asked >= {"audit:read", "bans:write", "roles:assign"}
    assert asked <= PLATFORM_PERMISSIONS.keys()
