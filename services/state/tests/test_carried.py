"""What a caller may write: a right to move an object is not a right to rewrite it, whichever way the write comes."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, NamespaceAccess, NamespaceDeclaration, TransitionDeclaration
from stylobate.errors import StylobateError
from stylobate.identity import Principal, PrincipalKind
from stylobate.testing import FakeClock, sequence_ids
from stylobate_state.errors import StateDataInvalidError
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore

from .conftest import Grants, Hooks, _agree
from .samples import ADA, ANONYMOUS, BOB, HANDLER, ORDERS, fields

CLERK = Principal(kind=PrincipalKind.USER, id="clerk")
CALLERS = (ANONYMOUS, ADA, BOB, CLERK, HANDLER, BOB.with_via("actions"), ANONYMOUS.with_via("actions"))
PERMISSION = "things:write"
AT = StateKey("default", "things", "1")


async def place(manager, total: int = 5) -> StateRecord:
    """Have an order of Ada's, made by a handler."""
    return await manager.change(HANDLER, "orders", "1", Put(json.dumps({"total": total}).encode()), expected=None)


@pytest.mark.parametrize(
    ("event", "patch", "pointers"),
    [
        ("cancel", b'{"total": 1}', ["/total"]),
        ("cancel", b'{"total": 5}', ["/total"]),
        ("cancel", b'{"total": null}', ["/total"]),
        ("cancel", b'{"a~b/c": {"d": 1}}', ["/a~0b~1c"]),
        ("cancel", b'{"a": 1, "b": 2}', ["/a", "/b"]),
        ("cancel", b"1", [""]),
        ("cancel", b"null", [""]),
        ("cancel", b"[]", [""]),
        ("pay", b'{"total": 1}', ["/total"]),
        ("pay", b'{"paid_by": "card", "total": 1}', ["/total"]),
        ("pay", b'{"paid_by": "card", "total": 1, "total": 1}', ["/total"]),
        ("pay", b"5", [""]),
    ],
)
async def test_an_event_carries_nothing_but_what_it_declares(manager, event, patch, pointers):
    """The owner may pay and cancel, not set the price: 422 with each field, and the order stands as it stood."""
    placed = await place(manager)
    with pytest.raises(StateDataInvalidError) as refused:
        await manager.change(ADA, "orders", "1", Transition(event, patch), expected=None)
    assert sorted(violation.pointer for violation in refused.value.violations) == pointers
    assert refused.value.http_status == 422
    assert (await manager.get(ADA, [("orders", "1")])) == [placed]


async def test_who_may_write_may_carry_what_a_write_would_let_through(manager):
    """A handler holds `write` of orders: it sets the price while it pays, and the schema still holds."""
    await place(manager)
    with pytest.raises(StateDataInvalidError) as refused:
        await manager.change(HANDLER, "orders", "1", Transition("pay", b'{"total": 0}'), expected=None)
    assert [violation.detail for violation in refused.value.violations] == ["the value is less than the minimum of 1"]
    paid = await manager.change(HANDLER, "orders", "1", Transition("pay", b'{"total": 7}'), expected=None)
    assert (json.loads(paid.data), paid.status) == ({"total": 7}, "paid")


@pytest.mark.parametrize("patch", [b"", b"{}"])
async def test_an_event_without_data_needs_no_declaration(manager, patch):
    """Nothing carried is nothing to declare."""
    await place(manager)
    assert (await manager.change(ADA, "orders", "1", Transition("cancel", patch), expected=None)).status == "cancelled"


async def test_the_values_carried_are_held_to_the_events_schema(environment):
    """Nested members too: what a closed schema does not name inside an object is not merged into it."""
    address = {"type": "object", "properties": {"zip": {"type": "string"}}, "additionalProperties": False}
    carried = {"type": "object", "properties": {"note": {"type": "string"}, "address": address}, "additionalProperties": False}
    pay = replace(ORDERS.transitions["pay"], data=carried)
    declaration = replace(ORDERS, transitions={"pay": pay})
    async with StateManager.open({"orders": declaration}, environment, max_data_bytes=1000) as manager:
        data = b'{"total": 5, "address": {"zip": "1", "street": "a"}}'
        await manager.change(HANDLER, "orders", "1", Put(data), expected=None)
        for patch, pointer in (
            (b'{"note": 5}', "/note"),
            (b'{"note": null}', "/note"),
            (b'{"address": null}', "/address"),
            (b'{"address": {"street": "b"}}', "/address/street"),
            (b'{"address": {"zip": null}}', "/address/zip"),
        ):
            with pytest.raises(StateDataInvalidError) as refused:
                await manager.change(ADA, "orders", "1", Transition("pay", patch), expected=None)
            assert [violation.pointer for violation in refused.value.violations] == [pointer]
        paid = await manager.change(ADA, "orders", "1", Transition("pay", b'{"address": {"zip": "2"}}'), expected=None)
    assert json.loads(paid.data) == {"total": 5, "address": {"zip": "2", "street": "a"}}


@pytest.mark.parametrize("data", [b"5", b"[1]", b"null"])
async def test_an_empty_patch_does_not_replace_what_is_no_object(environment, data):
    """By RFC 7396 even `{}` turns a number into an object: all of it would change."""
    declaration = replace(ORDERS, schema=None)
    async with StateManager.open({"orders": declaration}, environment, max_data_bytes=1000) as manager:
        await manager.change(HANDLER, "orders", "1", Put(data), expected=None)
        for patch in (b"{}", b'{"by": "card"}'):
            with pytest.raises(StateDataInvalidError):
                await manager.change(ADA, "orders", "1", Transition("pay", patch), expected=None)
        assert (await manager.change(HANDLER, "orders", "1", Transition("pay", b"{}"), expected=None)).data == b"{}"


async def test_who_may_not_fire_hears_of_access_first(manager):
    """What an event carries is no business of who may not fire it."""
    await place(manager)
    with pytest.raises(StylobateError) as refused:
        await manager.change(BOB, "orders", "1", Transition("pay", b'{"total": 1}'), expected=7)
    assert refused.value.reason in {"PERMISSION_DENIED", "STATE_NOT_FOUND"}


# Generated namespaces, callers and writes, against a second statement of the rule.

MEMBERS = ("a", "b", "c")
rules = st.lists(st.sampled_from(["public", "authenticated", "owner", "actions", PERMISSION]), max_size=2, unique=True).map(
    lambda terms: AccessRule(tuple(terms))
)
leaves = st.none() | st.integers(0, 2) | st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, st.none() | st.integers(0, 2)))
documents = st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, leaves)) | st.integers(0, 2) | st.none()
carried = st.none() | st.lists(st.sampled_from(MEMBERS), unique=True, min_size=1).map(lambda names: fields(*names))


@st.composite
def namespaces(draw: st.DrawFn) -> NamespaceDeclaration:
    """Make a namespace whose rules differ in every way."""
    create = AccessRule(tuple(term for term in draw(rules).terms if term != "owner"))
    go = TransitionDeclaration("go", ("new", "gone"), "gone", draw(st.none() | rules), draw(carried))
    access = NamespaceAccess(
        read=AccessRule(("public",)), list=AccessRule(("public",)), create=create, write=draw(rules), delete=draw(rules)
    )
    return NamespaceDeclaration("things", "things", initial="new", access=access, transitions={"go": go})


@dataclass(frozen=True)
class Attempt:
    """One thing that one caller asks for."""

    what: str
    caller: Principal
    data: Any


attempts = st.builds(Attempt, st.sampled_from(["put", "patch", "go", "delete"]), st.sampled_from(CALLERS), documents)


def lets_in(rule: AccessRule, caller: Principal, owner: str | None) -> bool:
    """Say again, plainly, who a rule lets in."""
    return (
        "public" in rule.terms
        or ("authenticated" in rule.terms and not caller.is_anonymous)
        or ("actions" in rule.terms and caller.via == "actions")
        or ("owner" in rule.terms and not caller.is_anonymous and owner == caller.subject)
        or (PERMISSION in rule.terms and caller.subject == "clerk")
    )


def changed(before: Any, after: Any) -> set[str]:
    """Return the members that differ; "*" when the whole is something else."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return set() if before == after else {"*"}
    return {name for name in {*before, *after} if before.get(name, ...) != after.get(name, ...)}


def may_change(namespace: NamespaceDeclaration, attempt: Attempt, before: StateRecord | None) -> set[str]:
    """Return what the declaration lets this caller change: members of the data ("*": all), status, existence, owner."""
    access, caller = namespace.access, attempt.caller
    is_live = before is not None and not before.is_deleted
    owner = before.owner if is_live else None
    if not is_live:
        creates = attempt.what == "put" and lets_in(access.create, caller, None)
        return {"*", "status", "owner", "existence", *MEMBERS} if creates else set()
    if attempt.what == "delete":
        return {"existence"} if lets_in(access.delete, caller, owner) else set()
    writes = {"*", *MEMBERS} if lets_in(access.write, caller, owner) else set()
    if attempt.what != "go":
        return writes
    go = namespace.transitions["go"]
    if not lets_in(access.write if go.access is None else go.access, caller, owner):
        return set()
    return {"status", *writes, *(go.data["properties"] if go.data else ())}


async def attempt_it(manager: StateManager, attempt: Attempt) -> None:
    """Ask for it; a refusal is fine."""
    data = json.dumps(attempt.data).encode()
    try:
        if attempt.what == "put":
            await manager.change(attempt.caller, "things", "1", Put(data), expected=None)
        elif attempt.what == "patch":
            await manager.change(attempt.caller, "things", "1", Patch(data), expected=None)
        elif attempt.what == "go":
            await manager.change(attempt.caller, "things", "1", Transition("go", data), expected=None)
        else:
            await manager.change(attempt.caller, "things", "1", Delete(), expected=None)
    except StylobateError as error:
        if error.http_status not in {401, 403, 404, 409, 422}:
            raise


@given(namespaces(), st.lists(attempts, min_size=1, max_size=8))
def test_nobody_changes_what_is_not_declared_for_them(namespace, asked):
    """Over puts, merges with null and nested members, events, deletions and keys used again: fields, status, owner, times."""

    async def run() -> None:
        clock = FakeClock()
        store = MemoryStateStore(clock)
        environment = Environment(
            store=store, access=AccessEvaluator(Grants({"clerk": {PERMISSION}})), hooks=Hooks(_agree),
            committed=lambda _namespace: None, clock=clock, new_id=sequence_ids(),
        )  # fmt: skip
        async with StateManager.open({"things": namespace}, environment, max_data_bytes=1000) as manager:
            for attempt in asked:
                before = (await store.read([AT])).get(AT)
                await attempt_it(manager, attempt)
                after = (await store.read([AT])).get(AT)
                compare(namespace, attempt, before, after)

    asyncio.run(run())


def compare(namespace: NamespaceDeclaration, attempt: Attempt, before: StateRecord | None, after: StateRecord | None) -> None:
    """Hold what became of an object to what the caller may change."""
    allowed = may_change(namespace, attempt, before)
    was_live, is_live = (state is not None and not state.is_deleted for state in (before, after))
    if before == after:
        return
    assert after is not None
    assert after.version == (before.version if before else 0) + 1
    if was_live != is_live:
        assert "existence" in allowed
        if is_live:
            assert (after.owner, after.status) == (attempt.caller.subject, "new")
        return
    assert before is not None
    assert allowed
    assert (after.owner, after.created_at, after.first_version) == (before.owner, before.created_at, before.first_version)
    assert changed(json.loads(before.data), json.loads(after.data)) <= allowed
    assert after.status == before.status or ("status" in allowed and after.status == "gone")
