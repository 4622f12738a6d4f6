"""Who somebody is, for handlers: who is told what, and that many are one question."""

from dataclasses import replace
from typing import Any

import pytest
from stylobate.errors import InvalidInputError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate.ids import new_id
from stylobate_auth.user_directory import UserDirectory

from .conftest import Auth
from .stores import add_account, new_account
from .test_users import _admin


async def test_who_is_told_what(auth: Auth) -> None:
    """All to who holds `users:read` and to a service; of their own to a person; else whether there is one."""
    root, ada, eve = await _admin(auth), await auth.register(), await auth.register("eve@example.com")
    mine = auth.principal(await auth.login())
    directory, nobody = UserDirectory(auth.store, auth.access), new_id()

    async def told(principal: Principal) -> list[tuple[str, bool]]:
        return [(one.account.email, one.is_told) for one in await directory.profiles(principal, asked)]

    asked = [eve.id, nobody, ada.id, "x", "", eve.id]
    assert await told(root) == await told(auth.service) == [("eve@example.com", True), ("ada@example.com", True)]
    own = [("eve@example.com", False), ("ada@example.com", True)]
    assert await told(mine.with_via("actions", "shop")) == own
    for_ada = Principal(PrincipalKind.SERVICE, "service:actions", via="actions", act_for=ada.id)
    assert await told(for_ada) == own
    for principal in (ANONYMOUS, replace(mine, is_key=True, scopes=frozenset({"orders:*"}))):
        assert {is_told for _, is_told in await told(principal)} == {False}
    key = replace(root, is_key=True, scopes=frozenset({"users:read"}))
    assert {is_told for _, is_told in await told(key)} == {True}
    with pytest.raises(InvalidInputError):
        await directory.profiles(root, [new_id() for _ in range(501)])


async def test_every_store_finds_them_by_id(bench: Any) -> None:
    """People of that tenant, however odd the ids are."""
    ada, other = await add_account(bench.store, new_account()), await add_account(bench.store, new_account(tenant="other"))
    found = await bench.other.users_by_id("default", [ada.id, ada.id, other.id, new_id(), "x", "", ada.id.upper()])
    assert found == [replace(ada, roles=())]
    assert await bench.other.users_by_id("default", []) == []
