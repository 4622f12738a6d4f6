"""Every kind of rule against every kind of principal, through the one evaluator."""

from dataclasses import dataclass
from itertools import combinations

import pytest
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule
from stylobate.declarations.rules import TERMS
from stylobate.errors import PermissionDeniedError, UnauthenticatedError
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate.identity.resources import NOTHING, Granted

HELD, NOT_HELD = "orders:read", "orders:admin"
ADA = Principal(PrincipalKind.USER, "ada")
BOB = Principal(PrincipalKind.USER, "bob")
UNNAMED = {"nobody through actions", "ada's handler", "actions for ada", "bob's handler"}
"""Through an actions service of the release before, which names no module."""
PRINCIPALS = {
    "nobody": ANONYMOUS,
    "nobody through actions": ANONYMOUS.with_via("actions"),
    "a user without an id": Principal(PrincipalKind.USER, ""),
    "ada": ADA,
    "ada through the gateway": ADA.with_via("gateway"),
    "ada's handler": ADA.with_via("actions"),
    "actions for ada": Principal(PrincipalKind.SERVICE, "service:actions", via="actions", act_for="ada"),
    "bob": Principal(PrincipalKind.USER, "bob"),
    "bob's handler": Principal(PrincipalKind.USER, "bob", via="actions"),
    "bob's handler in the shop": BOB.with_via("actions", "shop"),
    "bob's handler in the till": BOB.with_via("actions", "till"),
    "ada's key": Principal(PrincipalKind.USER, "ada", is_key=True),
    "ada's key, as owner": Principal(PrincipalKind.USER, "ada", is_key=True, scopes=frozenset({"owner"})),
    "ada's key, as anybody known": Principal(PrincipalKind.USER, "ada", is_key=True, scopes=frozenset({"authenticated"})),
    "ada's key with every scope": Principal(PrincipalKind.USER, "ada", is_key=True, scopes=frozenset({"*"})),
    "bob, who says that he is the shop": BOB.with_via("", "shop"),
    "bob through a gateway that says shop": BOB.with_via("gateway", "shop"),
}
LET_THROUGH = {
    "public": set(PRINCIPALS),
    "authenticated": {name for name in PRINCIPALS if not name.startswith("nobody")} - {"ada's key", "ada's key, as owner"},
    "owner": {"ada", "ada through the gateway", "ada's handler", "actions for ada"}
    | {"ada's key, as owner", "ada's key with every scope"},
    "actions": UNNAMED,
    "actions of shop": UNNAMED | {"bob's handler in the shop"},
    "actions of till": UNNAMED | {"bob's handler in the till"},
    HELD: {"ada", "ada through the gateway", "ada's handler", "actions for ada", "ada's key with every scope"},
    NOT_HELD: set(),
}
"""Whom each term lets at an object of ada's, who holds one permission."""
RULES = [terms for size in range(3) for terms in combinations(LET_THROUGH, size)]


@dataclass
class Permissions:
    """Ada holds one permission."""

    asked: int = 0

    async def allowed(self, principal, permission, resource=""):
        """Decide."""
        self.asked += 1
        if not principal.lends(permission):
            return False
        return (principal.subject, permission) == ("ada", HELD) or (await self.granted(principal, permission)).covers(resource)

    async def granted(self, principal, permission, under=""):
        """Eve is granted the permission on one thing, and all of others."""
        assert not under or under == "state/"
        return Granted({"state/a/1", "state/b/"}) if (principal.subject, permission) == ("eve", HELD) else NOTHING


@pytest.fixture
def access():
    """Give the evaluator."""
    return AccessEvaluator(Permissions())


def test_every_word_is_in_the_table():
    """A new word must say whom it lets through."""
    assert {term for term in LET_THROUGH if ":" not in term and " of " not in term} == set(TERMS)


@pytest.mark.parametrize("terms", RULES, ids=" or ".join)
async def test_any_term_is_enough_and_none_is_nobody(access, terms):
    """A rule lets exactly those through whom one of its terms does."""
    passed = {name for name, principal in PRINCIPALS.items() if await access.allows(AccessRule(terms), principal, "ada")}
    assert passed == set().union(*(LET_THROUGH[term] for term in terms))


@pytest.mark.parametrize("owner", [None, "", "carl"])
async def test_what_is_nobodys_has_no_owner(access, owner):
    """Where an object has no owner, or another one, `owner` lets nobody through, also nobody without an id."""
    assert not [name for name, who in PRINCIPALS.items() if await access.allows(AccessRule(("owner",)), who, owner)]


async def test_a_grant_is_enough_for_what_it_is_on(access):
    """A permission in a rule is met by a grant of it on the resource, or on a prefix that it lies in; a word is not."""
    eve = Principal(PrincipalKind.USER, "eve")
    for resource, expected in {"state/a/1": True, "state/a/2": False, "state/a/": False, "state/b/9": True, "": False}.items():
        assert await access.allows(AccessRule((NOT_HELD, HELD)), eve, resource=resource) is expected
    assert not await access.allows(AccessRule(("owner", "actions")), eve, resource="state/a/1")
    assert await access.granted(AccessRule(("owner", NOT_HELD, HELD)), eve, "state/") == Granted({"state/a/1", "state/b/"})
    assert not await access.granted(AccessRule(("owner",)), eve, "state/")
    with pytest.raises(PermissionDeniedError) as denied:
        await access.require(AccessRule((HELD,)), eve, "read x", resource="state/a/2")
    assert denied.value.metadata == {"permission": HELD, "resource": "state/a/2"}


async def test_what_costs_a_question_comes_last():
    """Nobody is asked about a permission where another term lets through."""
    permissions = Permissions()
    assert await AccessEvaluator(permissions).allows(AccessRule((HELD, "owner")), ADA, "ada")
    assert permissions.asked == 0


async def test_a_refusal_says_what_it_takes(access):
    """403 names the first permission that would do, where one would; nobody at all is 401."""
    with pytest.raises(PermissionDeniedError, match=r"You may not read x\. It takes: owner or orders:admin\.") as denied:
        await access.require(AccessRule(("owner", NOT_HELD)), ADA, "read x")
    assert denied.value.metadata == {"permission": NOT_HELD}
    with pytest.raises(PermissionDeniedError, match="Nobody may") as closed:
        await access.require(AccessRule(), ADA, "read x")
    assert closed.value.metadata == {}
    with pytest.raises(UnauthenticatedError):
        await access.require(AccessRule((HELD,)), ANONYMOUS, "read x")


async def test_who_could_own_it_may_hear_that_it_is_not_there(access):
    """`require_possible` lets through whom the rule could let at some object."""
    await access.require_possible(AccessRule(("owner",)), PRINCIPALS["bob"], "read x")
    with pytest.raises(PermissionDeniedError):
        await access.require_possible(AccessRule((NOT_HELD,)), PRINCIPALS["bob"], "read x")
