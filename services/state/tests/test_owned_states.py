"""An owner's objects, given out: over memory and PostgreSQL."""

from dataclasses import replace

import pytest
from stylobate.declarations.model import AccessRule, FieldDeclaration
from stylobate.errors import InvalidInputError
from stylobate.identity import Principal, PrincipalKind
from stylobate.strict_json import loads
from stylobate_state import owned_states
from stylobate_state.errors import StateNamespaceUnknownError
from stylobate_state.operation import Delete, Put
from stylobate_state.owned_states import OwnedStates
from stylobate_state.state_manager import StateManager

from .samples import ADA, BOB, HANDLER, NOTES

CLOSED = AccessRule(("actions",))
RULES = (FieldDeclaration("score", CLOSED), FieldDeclaration("inner.price", is_exported=False))
DECLARED = {"notes": NOTES, "secrets": replace(NOTES, name="secrets", fields=RULES)}


@pytest.fixture
async def parts(open_store, environment, monkeypatch):
    """Give a manager over each adapter in turn, and what gives out objects, two at a time."""
    monkeypatch.setattr(owned_states, "_AT_ONCE", 2)
    environment = replace(environment, store=await open_store())
    async with StateManager.open(DECLARED, environment, max_data_bytes=10_000) as manager:
        yield manager, OwnedStates(manager.namespaces, environment)


async def _all(owned, namespace, owner="ada", tenant="default"):
    found, token = {}, ""
    while token or not found:
        states, token = await owned.page(tenant, owner, namespace, token)
        found |= {state.key.key: state.data for state in states}
        if not states:
            break
    return found


async def test_all_that_is_owned_and_nothing_else(parts):
    """Living objects of that owner in that tenant, page after page."""
    manager, owned = parts
    for key in ("a", "b", "c", "d", "e"):
        await manager.change(ADA, "notes", key, Put(b'{"by": "ada"}'), expected=0)
    await manager.change(BOB, "notes", "bob", Put(b'{"by": "bob"}'), expected=0)
    await manager.change(BOB, "notes", "a", Put(b'{"by": "bob"}'), expected=1)
    await manager.change(ADA, "notes", "b", Delete(), expected=1)
    elsewhere = Principal(PrincipalKind.USER, "ada", "other")
    await manager.change(elsewhere, "notes", "x", Put(b'{"by": "elsewhere"}'), expected=0)
    assert await _all(owned, "notes") == {"a": b'{"by": "bob"}', **dict.fromkeys("cde", b'{"by": "ada"}')}
    assert await _all(owned, "notes", tenant="other") == {"x": b'{"by": "elsewhere"}'}
    assert await _all(owned, "notes", owner="eve") == {}


async def test_hidden_fields_are_given_out_and_withheld_ones_are_not(parts):
    """Who may not see a field of their object gets it with the export, unless the namespace says `export: false`."""
    manager, owned = parts
    data = b'{"text": "x", "score": 3, "inner": {"price": 5, "other": 6}}'
    await manager.change(HANDLER, "secrets", "a", Put(data), expected=0)
    (seen,) = await manager.get(ADA, [("secrets", "a")])
    assert loads(seen.data) == {"text": "x", "inner": {"price": 5, "other": 6}}
    (given,) = (await _all(owned, "secrets")).values()
    assert loads(given) == {"text": "x", "score": 3, "inner": {"other": 6}}


async def test_what_makes_no_sense_is_refused(parts):
    """A namespace that nothing declares, a token of another list."""
    manager, owned = parts
    for key in ("a", "b", "c"):
        await manager.change(ADA, "notes", key, Put(b"{}"), expected=0)
    _, token = await owned.page("default", "ada", "notes", "")
    with pytest.raises(InvalidInputError):
        await owned.page("default", "bob", "notes", token)
    with pytest.raises(StateNamespaceUnknownError):
        await owned.page("default", "ada", "nothing", "")
