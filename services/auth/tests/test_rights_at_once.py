"""Rights that are given and taken by many at the same moment."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from stylobate.errors import PermissionDeniedError, StylobateError, UnavailableError
from stylobate.identity import Principal, PrincipalKind
from stylobate.rpc.call import Call
from stylobate_auth.access_manager import AccessManager
from stylobate_auth.grant import Grant
from stylobate_auth.grant_manager import GrantManager
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.role import RoleDraft
from stylobate_auth.role_book import DefinedRole
from stylobate_auth.role_definition_manager import RoleDefinitionManager
from stylobate_auth.role_manager import RoleManager
from stylobate_auth.service_account_manager import ServiceAccountManager

from .stores import new_account


def _now() -> datetime:
    return datetime.now(UTC)


class _Crowd:
    """Who changes rights as chance will have it, in the operator's name."""

    def __init__(self, store: Any, people: list[str]) -> None:
        access = AccessManager(store, {}, permissions=["orders:read"], clock=_now)
        self.roles = RoleManager(store, access, clock=_now)
        self.grants = GrantManager(store, access, namespaces={"orders"}, clock=_now)
        self.definitions = RoleDefinitionManager(store, access, clock=_now)
        self.machines = ServiceAccountManager(store, access, RevocationManager(store, clock=_now), clock=_now)
        self.operator = Principal(PrincipalKind.SERVICE, "service:cli", via="cli")
        self.caller = Call(request_id="request-1", principal=self.operator)
        self.people = people
        self.chance = Random(11)
        self._gives = self._assign, self._assign, self._grant, self._make

    async def keep_on(self) -> list[BaseException]:
        """Change one thing after the other; return what must not happen."""
        failed: list[BaseException] = []
        for _ in range(25):
            try:
                await self.chance.choice(
                    [self._assign, self._assign, self._remove, self._put, self._delete, self._grant, self._make]
                )()
            except (PermissionDeniedError, UnavailableError) as error:
                failed.append(error)
            except StylobateError:
                pass  # it is not there, or not held, or inherited from
        return failed

    @property
    def _name(self) -> str:
        return self.chance.choice("abc")

    @property
    def _person(self) -> str:
        return self.chance.choice(self.people)

    async def _assign(self) -> None:
        draft = RoleDraft(self._name, self.chance.choice([None, _now() + timedelta(days=1)]))
        await self.roles.assign(self.operator, self._person, draft, self.caller)

    async def _remove(self) -> None:
        await self.roles.remove(self.operator, self._person, self._name, self.caller)

    async def _put(self) -> None:
        name = self._name
        inherits = tuple(other for other in "abc" if other < name and self.chance.random() < 0.5)
        await self.definitions.put(self.operator, DefinedRole("", name, "", ("orders:read",), inherits), self.caller)

    async def _delete(self) -> None:
        await self.definitions.delete(self.operator, self._name, self.caller)

    async def _grant(self) -> None:
        subject = self.chance.choice([self._person, f"role:{self._name}"])
        grant = Grant("", subject, "orders:read", f"state/orders/{self.chance.randrange(3)}")
        await self.grants.put(self.operator, grant, self.caller)

    async def _make(self) -> None:
        made = await self.machines.create(self.operator, "machine", [self._name], self.caller)
        await self.machines.delete(self.operator, made.id, self.caller)


async def _crowded(store: Any) -> list[BaseException]:
    """Have eight change rights of four people; return what must not happen."""
    people = [new_account(f"person-{number}@example.com") for number in range(4)]
    for person in people:
        async with store.transaction() as transaction:
            await transaction.add_account(person)
    crowd = _Crowd(store, [person.account.id for person in people])
    return [failed for found in await asyncio.gather(*(crowd.keep_on() for _ in range(8))) for failed in found]


async def test_nothing_is_left_of_a_role_that_is_gone(postgres: Any) -> None:
    """Whatever meets whatever: nobody waits for who waits for it, and of a deleted role nothing is held or granted."""
    assert await _crowded(postgres.store) == []
    gone = "not in (select name from role) and"
    assert await postgres.rows(f"select * from account_role where role {gone} role <> 'user'") == []
    assert await postgres.rows(f"select * from resource_grant where substr(subject, 6) {gone} subject like 'role:%'") == []


@pytest.mark.soak
async def test_nothing_is_left_on_mongodb_either(mongodb: Any) -> None:
    """Where who comes second may be told to come again, and nothing else."""
    assert [error for error in await _crowded(mongodb.store) if not isinstance(error, UnavailableError)] == []
    known = {role["_id"]["name"] for role in await mongodb.database.find("role", {})}
    assert {one["role"] for account in await mongodb.database.find("account", {}) for one in account["roles"]} <= known | {"user"}
    subjects = {grant["_id"]["subject"] for grant in await mongodb.database.find("resource_grant", {})}
    assert {subject.removeprefix("role:") for subject in subjects if subject.startswith("role:")} <= known
