"""Roles and decisions."""

from typing import Any

import pytest
from stylobate.errors import InvalidInputError, PermissionDeniedError
from stylobate.identity import Principal, PrincipalKind
from stylobate_auth.access_manager import AccessManager
from stylobate_auth.model import AccountDraft, Decision, Question

from .conftest import declared

PASSWORD = "correct horse battery staple"


async def test_roles_permit_what_modules_declare(auth: Any) -> None:
    """Builtin and declared roles decide together; the administrator may everything; the unknown nothing."""
    user = await auth.register()
    admin = await auth.accounts.create(auth.service, AccountDraft("r@example.com", PASSWORD, roles=("admin",)), auth.origin)
    asked = [(user, "orders:create"), (user, "orders:ship"), (admin, "orders:ship"), (admin, "what:ever")]
    questions = [Question(account.id, permission) for account, permission in asked]
    questions += [Question("nobody", "orders:create"), Question(user.id, "orders:create", tenant="another")]
    decisions = await auth.access.check(auth.service, questions)
    assert [one.is_allowed for one in decisions] == [True, False, True, True, False, False]


async def test_users_ask_about_themselves_only(auth: Any) -> None:
    """A caller learns nothing of others, nor of another tenant; a user behind a service is still a user."""
    me, other = await auth.register("me@example.com"), await auth.register("other@example.com")
    principal = Principal(kind=PrincipalKind.USER, id=me.id, via="gateway")
    assert await auth.access.check(principal, [Question(me.id, "orders:create", tenant="another")]) == [Decision(is_allowed=True)]
    with pytest.raises(PermissionDeniedError):
        await auth.access.check(principal, [Question(me.id, "orders:create"), Question(other.id, "orders:create")])


async def test_a_batch_is_bounded(auth: Any) -> None:
    """More than a thousand questions at once are refused."""
    with pytest.raises(InvalidInputError):
        await auth.access.check(auth.service, [Question("x", "orders:create")] * 1001)
    assert await auth.access.check(auth.service, []) == []


async def test_the_access_version_rises_when_roles_mean_something_else(auth: Any) -> None:
    """A restart with the same declarations changes nothing; one with others ends cached decisions everywhere."""
    first = await auth.access.announce()
    assert await AccessManager(auth.store, declared({"user": ["orders:create"]}), clock=auth.clock).announce() == first + 1
    assert (
        await AccessManager(auth.store, declared({"user": ["orders:create"], "admin": []}), clock=auth.clock).announce()
        == first + 1
    )
    assert (
        await AccessManager(auth.store, declared({"user": ["orders:create", "orders:read"]}), clock=auth.clock).announce()
        == first + 2
    )
    await auth.revocations.look()
    assert auth.revocations.current().access_version == first + 2


async def test_a_service_acting_for_a_user_has_the_users_rights(auth: Any) -> None:
    """``act_for`` narrows a service to its subject."""
    user = await auth.register()
    acting = Principal(kind=PrincipalKind.SERVICE, id="service:actions", via="actions", act_for=user.id)
    await auth.access.require(acting, "orders:create")
    with pytest.raises(PermissionDeniedError):
        await auth.access.require(acting, "users:create")
    await auth.access.require(auth.service, "users:create")
