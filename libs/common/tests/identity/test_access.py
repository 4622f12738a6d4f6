"""Permission decisions as every service asks for them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from stylobate.errors import UnavailableError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind, grants
from stylobate.identity.access import Access
from stylobate.identity.kept_decisions import KeptDecisions
from stylobate.identity.resources import Granted, GrantedTooManyError
from stylobate.rpc import CallerChannel

USER = Principal(kind=PrincipalKind.USER, id="user-1")
SERVICE = Principal(kind=PrincipalKind.SERVICE, id="service:actions", via="actions")
FOR_USER = Principal(kind=PrincipalKind.SERVICE, id="service:actions", via="actions", act_for="user-1")


class _Seconds:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> _Seconds:
    """Return the clock that decisions age by."""
    return _Seconds()


@pytest.fixture
async def access(authority: Any, seconds: _Seconds) -> AsyncIterator[Access]:
    """Return an access whose verifier is loaded."""
    async with authority.verifier() as verifier, CallerChannel(grpc.aio.insecure_channel(authority.address), None) as channel:
        await verifier.ready.wait()
        await asyncio.wait_for(authority.tokens.watched.wait(), 60)
        async with Access(channel, verifier, clock=seconds) as access:
            yield access


@pytest.mark.parametrize(
    ("held", "permission", "expected"),
    [
        ({"orders:read"}, "orders:read", True),
        ({"orders:read"}, "orders:write", False),
        ({"*"}, "orders:read", True),
        ({"orders:*"}, "orders:read", True),
        ({"orders:*"}, "orders:items:read", True),
        ({"orders:*"}, "ordersx:read", False),
        ({"orders:items:*"}, "orders:read", False),
        ({"orders:read"}, "orders:*", False),
        (set(), "orders:read", False),
    ],
)
def test_wildcards_cover_their_area_only(held: set[str], permission: str, expected: bool) -> None:
    """A star stands for the rest of an area and never for part of a word."""
    assert grants(held, permission) is expected


async def test_auth_decides_about_the_subject(authority: Any, access: Access) -> None:
    """The question carries tenant and subject; roles in the token decide nothing."""
    authority.access.granted.add(("default", "user-1", "orders:read"))
    assert await access.allowed(USER, "orders:read")
    assert not await access.allowed(Principal(kind=PrincipalKind.USER, id="user-2", roles=("admin",)), "orders:read")
    assert not await access.allowed(Principal(kind=PrincipalKind.USER, id="user-1", tenant="another"), "orders:read")


async def test_nobody_and_services_need_no_question(authority: Any, access: Access) -> None:
    """An anonymous caller holds nothing, a service in its own name everything, one acting for a user what the user holds."""
    assert not await access.allowed(ANONYMOUS, "orders:read")
    assert await access.allowed(SERVICE, "orders:read")
    assert not authority.access.batches
    assert not await access.allowed(FOR_USER, "orders:read")
    assert authority.access.batches == [[("default", "user-1", "orders:read")]]


async def test_scopes_narrow(authority: Any, access: Access) -> None:
    """A token limited to scopes cannot use what else its subject holds."""
    authority.access.granted |= {("default", "user-1", "orders:read"), ("default", "user-1", "orders:create")}
    narrow = Principal(kind=PrincipalKind.USER, id="user-1", scopes=frozenset({"orders:read"}))
    assert await access.allowed(narrow, "orders:read")
    assert not await access.allowed(narrow, "orders:create")


async def test_questions_of_one_moment_leave_together(authority: Any, access: Access) -> None:
    """What is asked at once costs one call."""
    await asyncio.gather(*(access.allowed(USER, f"orders:{number}") for number in range(50)))
    assert [len(batch) for batch in authority.access.batches] == [50]


async def test_a_decision_is_remembered_for_ten_seconds(authority: Any, access: Access, seconds: _Seconds) -> None:
    """Within ten seconds nothing is asked again, after them it is."""
    assert not await access.allowed(USER, "orders:read")
    authority.access.granted.add(("default", "user-1", "orders:read"))
    seconds.now += 9.9
    assert not await access.allowed(USER, "orders:read")
    seconds.now += 0.2
    assert await access.allowed(USER, "orders:read")


async def test_a_change_of_roles_ends_decisions_at_once(authority: Any, access: Access, eventually: Any) -> None:
    """The access version on the stream clears what was decided before."""
    authority.access.granted.add(("default", "user-1", "orders:read"))
    assert await access.allowed(USER, "orders:read")
    authority.access.granted.clear()
    authority.tokens.access_version += 1
    authority.tokens.push()

    async def is_refused() -> bool:
        return not await access.allowed(USER, "orders:read")

    assert await eventually(is_refused) < 1


async def test_decisions_outlive_auth_for_a_while(authority: Any, access: Access, seconds: _Seconds) -> None:
    """While auth does not answer, what it said last holds for ten minutes; what it never said is unavailable."""
    authority.access.granted.add(("default", "user-1", "orders:read"))
    assert await access.allowed(USER, "orders:read")
    authority.access.is_down = True
    seconds.now += 599
    assert await access.allowed(USER, "orders:read")
    with pytest.raises(UnavailableError):
        await access.allowed(USER, "orders:create")
    seconds.now += 2
    with pytest.raises(UnavailableError):
        await access.allowed(USER, "orders:read")


ORDERS_READ = ("default", "user-1", "orders:read")


async def test_grants_come_with_the_decision(authority: Any, access: Access) -> None:
    """One question tells of all objects; a prefix is for what lies in it, and for nothing that only begins like it."""
    authority.access.resources[ORDERS_READ] = ["docs/a/", "state/orders/1"]
    assert await access.allowed(USER, "orders:read", "state/orders/1")
    assert access.known(USER, "orders:read", "docs/a/b/c") is True
    for resource in ("", "state/orders/", "state/orders/12", "docs/ab"):
        assert not await access.allowed(USER, "orders:read", resource)
    assert await access.granted(USER, "orders:read") == Granted(frozenset({"docs/a/", "state/orders/1"}))
    assert len(authority.access.batches) == 1
    narrow = Principal(kind=PrincipalKind.USER, id="user-1", scopes=frozenset({"orders:create"}))
    assert not await access.allowed(narrow, "orders:read", "state/orders/1")
    assert not await access.granted(narrow, "orders:read")
    assert not await access.granted(SERVICE, "orders:read")


async def test_who_is_granted_much_is_asked_for_by_object(authority: Any, access: Access) -> None:
    """Beyond what is told at once each object is a question, remembered as others are; lists come in pages, and have an end."""
    authority.access.resources[ORDERS_READ] = [f"state/orders/{number:05d}" for number in range(10_000)]
    assert await access.allowed(USER, "orders:read", "state/orders/00005")
    assert await access.allowed(USER, "orders:read", "state/orders/00500")
    assert not await access.allowed(USER, "orders:read", "state/orders/x")
    asked = len(authority.access.batches)
    assert asked == 3
    assert access.known(USER, "orders:read", "state/orders/00500") is True
    assert access.known(USER, "orders:read", "state/orders/x") is False
    assert access.known(USER, "orders:read", "state/orders/y") is None
    assert len((await access.granted(USER, "orders:read", "state/orders/")).names) == 10_000
    authority.access.resources[ORDERS_READ].append("state/orders/z")
    with pytest.raises(GrantedTooManyError):
        await access.granted(USER, "orders:read", "state/orders/")
    assert len(authority.access.batches) == asked


async def test_an_auth_of_the_release_before_knows_no_grants(authority: Any, access: Access) -> None:
    """What it permits holds; it grants nothing."""
    authority.access.has_grants = False
    authority.access.granted.add(("default", "user-1", "orders:create"))
    assert await access.allowed(USER, "orders:create", "state/orders/1")
    assert not await access.allowed(USER, "orders:read", "state/orders/1")


def test_decisions_are_bounded_by_what_they_name() -> None:
    """The oldest are forgotten first; one that is put again is counted once."""
    kept: KeptDecisions[int, list[int]] = KeptDecisions(len, most=4, most_names=10)
    for question in (1, 2, 2, 3):
        kept.put(question, ([0] * 3, 0.0))
    assert (len(kept), kept.get(1)) == (3, ([0] * 3, 0.0))
    kept.put(4, ([0] * 3, 0.0))
    assert kept.get(1) is None
    for question in (5, 6):
        kept.put(question, ([], 0.0))
    assert (len(kept), kept.get(2), kept.get(4) is None) == (4, None, False)
    kept.clear()
    kept.put(7, ([0] * 10, 0.0))
    assert len(kept) == 1
