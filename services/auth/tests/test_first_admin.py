"""The first administrator: invited once, for an hour, and while there is none."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from stylobate.errors import PermissionDeniedError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate_auth.errors import (
    AdministratorExistsError,
    AuthInvalidInputError,
    EmailTakenError,
    InvitationInvalidError,
)
from stylobate_auth.first_admin_manager import HOLDS_FOR, FirstAdminManager
from stylobate_auth.model import AccountDraft
from stylobate_auth.role import RoleDraft

from .conftest import PASSWORD, Auth
from .stores import NOW

DRAFT = AccountDraft("root@example.com", PASSWORD)


@pytest.fixture
def first(auth: Auth) -> FirstAdminManager:
    """Return the manager of invitations."""
    page = "http://localhost:8080/first-admin"
    return FirstAdminManager(auth.store, auth.accounts, limits=auth.limits, page=page, clock=auth.clock)


async def test_whoever_has_the_link_becomes_the_administrator_once(auth: Auth, first: FirstAdminManager) -> None:
    """With a role for good, and no other can: not by the same link, not by another one, and no link is made any more."""
    made = await first.invite(auth.service, auth.origin)
    assert (made.expires_at, made.link) == (auth.clock() + HOLDS_FOR, f"http://localhost:8080/first-admin#{made.token}")
    assert made.token not in str(vars(auth.store._tables))
    found = await asyncio.gather(
        *(first.create(made.token, AccountDraft(f"root{n}@example.com", PASSWORD), auth.origin) for n in range(4)),
        return_exceptions=True,
    )
    (root,) = [one for one in found if not isinstance(one, BaseException)]
    assert sum(isinstance(one, InvitationInvalidError) for one in found) == 3
    assert (root.roles, root.email_verified) == (("admin", "user"), False)
    assert [held.expires_at for held in await auth.store.held_roles("default", root.id)] == [None, None]
    assert await auth.login(root.email)
    with pytest.raises(InvitationInvalidError):
        await first.create(made.token, DRAFT, auth.origin)
    with pytest.raises(AdministratorExistsError):
        await first.invite(auth.service, auth.origin)
    assert [record.action for record in auth.store.records[:3]] == [
        "auth.first_admin.invite",
        "auth.first_admin.create",
        "auth.register",
    ]
    assert (auth.store.records[1].actor, auth.store.records[1].target) == (root.id, f"user:{root.id}")


async def test_it_ends(auth: Auth, first: FirstAdminManager) -> None:
    """After an hour, with the next one, and once there is an administrator by another way, also for a time."""
    old, new = await first.invite(auth.service, auth.origin), await first.invite(auth.service, auth.origin)
    for token in (old.token, "", "x" * 600, new.token[:-1]):
        with pytest.raises(InvitationInvalidError):
            await first.create(token, DRAFT, auth.origin)
    auth.clock.advance(HOLDS_FOR)
    with pytest.raises(InvitationInvalidError):
        await first.create(new.token, DRAFT, auth.origin)
    newest = await first.invite(auth.service, auth.origin)
    ada = await auth.register()
    await auth.roles.assign(auth.service, ada.id, RoleDraft("admin", auth.clock() + timedelta(days=1)), auth.origin)
    with pytest.raises(InvitationInvalidError):
        await first.create(newest.token, DRAFT, auth.origin)
    with pytest.raises(AdministratorExistsError):
        await first.invite(auth.service, auth.origin)


async def test_what_is_refused_spends_nothing(auth: Auth, first: FirstAdminManager) -> None:
    """A weak password, or an address that is taken: the link works on."""
    made = await first.invite(auth.service, auth.origin)
    await auth.register()
    with pytest.raises(AuthInvalidInputError) as refused:
        await first.create(made.token, AccountDraft("root@example.com", "password"), auth.origin)
    assert [one.pointer for one in refused.value.violations] == ["/password"]
    with pytest.raises(EmailTakenError):
        await first.create(made.token, AccountDraft("ada@example.com", PASSWORD), auth.origin)
    assert (await first.create(made.token, DRAFT, auth.origin)).email == DRAFT.email


async def test_nobody_but_the_operator_invites(auth: Auth, first: FirstAdminManager) -> None:
    """No person, whatever its roles, and no service that acts for one."""
    ada = Principal(PrincipalKind.USER, (await auth.register()).id)
    acting = Principal(kind=PrincipalKind.SERVICE, id="service:actions", via="actions", act_for=ada.id)
    for who in (ada, acting, ANONYMOUS):
        with pytest.raises(PermissionDeniedError):
            await first.invite(who, auth.origin)


async def test_every_store_keeps_one(bench: Any) -> None:
    """One of each tenant, replaced by the next, taken once and in time, and removed when it is over."""
    soon, hashes = NOW + timedelta(hours=1), [bytes([number]) * 32 for number in range(3)]

    async def take(tenant: str, token_hash: bytes, now: Any) -> bool:
        async with bench.other.transaction() as transaction:
            return bool(await transaction.take_invitation(tenant, token_hash, now))

    async with bench.store.transaction() as transaction:
        for token_hash in hashes[:2]:
            await transaction.put_invitation("default", token_hash, soon)
        await transaction.put_invitation("another", hashes[2], soon)
    assert [await bench.other.has_invitation("default", one, NOW) for one in hashes] == [False, True, False]
    assert not await bench.other.has_invitation("default", hashes[1], soon)
    assert not await take("default", hashes[1], soon)
    assert await take("default", hashes[1], NOW)
    assert not await take("default", hashes[1], NOW)
    assert await bench.store.has_invitation("another", hashes[2], NOW)
