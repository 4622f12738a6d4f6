"""Fields that only some may see or set, at every door of the service."""

import re
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.clients.bans import BanList
from stylobate.declarations.model import (
    AccessRule,
    BeforeHook,
    FieldDeclaration,
    IndexDeclaration,
    IndexField,
    NamespaceAccess,
    NamespaceDeclaration,
    TransitionDeclaration,
)
from stylobate.errors import InvalidInputError, StylobateError
from stylobate.identity import Principal, PrincipalKind
from stylobate.json_members import find, is_same, with_value, without
from stylobate.strict_json import loads
from stylobate_state.errors import StateDataInvalidError, StateNotUniqueError
from stylobate_state.fields import Closed
from stylobate_state.history_reader import Moment
from stylobate_state.index import all_indexes
from stylobate_state.operation import Delete, Patch, Put, Restore, Transition
from stylobate_state.settings import StateSettings
from stylobate_state.state_lister import Filter, ListRequest
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Changed, Gap, GapReason, Snapshot
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .samples import ADA, ANONYMOUS, BOB, fields

CLERK = Principal(PrincipalKind.USER, "clerk")
ANYONE = AccessRule(("public",))
CASES = NamespaceDeclaration(
    name="cases",
    module="desk",
    initial="open",
    statuses=("closed", "open"),
    access=NamespaceAccess(read=ANYONE, list=ANYONE, create=AccessRule(("authenticated",)), write=ANYONE, delete=ANYONE),
    transitions={
        "close": TransitionDeclaration("close", ("open",), "closed", ANYONE, fields("note", "notes", "person")),
        "reopen": TransitionDeclaration("reopen", ("closed",), "open", ANYONE),
    },
    indexes=(
        IndexDeclaration((IndexField("title", "text"),)),
        IndexDeclaration((IndexField("title", "text"), IndexField("notes", "text"))),
        IndexDeclaration((IndexField("notes", "text"),)),
        IndexDeclaration((IndexField("person.email", "text"),), is_unique=True),
    ),
    fields=(
        FieldDeclaration("notes", AccessRule(("desk:all",))),
        FieldDeclaration("person.email", AccessRule(("owner", "desk:all"))),
        FieldDeclaration("price", None, AccessRule(("desk:all",))),
        FieldDeclaration("complaint", AccessRule(("desk:all",)), AccessRule(("owner", "desk:all"))),
    ),
)
WHOLE = b'{"title": "T", "notes": "n-secret", "person": {"name": "P", "email": "e-secret"}, "price": 5, "complaint": "c-secret"}'
SEEN = {
    "clerk": {"title", "notes", "person.name", "person.email", "price", "complaint"},
    "ada": {"title", "person.name", "person.email", "price"},
    "bob": {"title", "person.name", "price"},
    "": {"title", "person.name", "price"},
}
"""What each sees of a case of ada's."""
CALLERS = (CLERK, ADA, BOB, ANONYMOUS)


@pytest.fixture
async def desk(environment, grants, memory):
    """Give a manager of cases with one of ada's, made whole by the clerk's right."""
    grants.by_subject["clerk"] = {"desk:all"}
    await memory.declare(all_indexes({"cases": CASES}))
    async with StateManager.open({"cases": CASES}, environment, max_data_bytes=10_000) as manager:
        grants.by_subject["ada"] = {"desk:all"}
        await manager.change(ADA, "cases", "1", Put(WHOLE), expected=0)
        del grants.by_subject["ada"]
        yield manager


def names(data: bytes) -> set[str]:
    """Return the fields of the data by their paths."""
    found = set[str]()
    for name, value in loads(data).items():
        found |= {f"{name}.{inner}" for inner in value} if isinstance(value, dict) else {name}
    return found


async def by_get(desk, caller):
    """Read it."""
    return [state.data for state in await desk.get(caller, [("cases", "1")])]


async def by_list(desk, caller):
    """List all."""
    return [state.data for state in (await desk.list_states(caller, "cases")).items]


async def by_index(desk, caller):
    """Find it."""
    request = ListRequest(filters=[Filter("title", "eq", ("T",))])
    return [state.data for state in (await desk.list_states(caller, "cases", request)).items]


async def by_history(desk, caller):
    """Look at what happened."""
    return [entry.data for entry in (await desk.list_history(caller, "cases", "1")).items]


async def by_version(desk, caller):
    """Look back."""
    return [(await desk.version(caller, "cases", "1", Moment(1))).data]


@pytest.mark.parametrize("door", [by_get, by_list, by_index, by_history, by_version])
@pytest.mark.parametrize("caller", CALLERS, ids=lambda one: one.id or "nobody")
async def test_each_sees_what_is_theirs_at_every_door(desk, door, caller):
    """The fields of an object are those that the caller may see, and all of those."""
    assert [names(data) for data in await door(desk, caller)] == [SEEN[caller.id]]


@pytest.mark.parametrize("caller", CALLERS, ids=lambda one: one.id or "nobody")
async def test_a_watch_tells_what_its_caller_sees(desk, environment, log, caller):
    """Snapshot and changes; where more is to be seen, or less, than at its position, it begins anew."""
    watching = WatchEnvironment(log, Feed(log), environment.store, environment.access, BanList(), lambda _: False)
    log.number_now()
    async with WatchManager.open(desk.namespaces, watching, StateSettings()) as watches:
        async with aclosing(watches.watch(caller, "", "cases", "1")) as telling:
            position, snapshot = await anext(telling)
            assert isinstance(snapshot, Snapshot)
            assert [names(state.data) for state in snapshot.states] == [SEEN[caller.id]]
        await desk.change(BOB, "cases", "1", Patch(b'{"title": "U"}'), expected=None)
        log.number_now()
        async with aclosing(watches.watch(caller, "", "cases", "1", position=position)) as telling:
            changed = [what async for _, what in _first(telling, 2)][1]
            assert isinstance(changed, Changed)
            assert changed.entry is not None
            assert names(changed.entry.data) == SEEN[caller.id]
        async with aclosing(watches.watch(CLERK, "", "cases", "1", position=position)) as telling:
            first = (await anext(telling))[1]
            assert first == (None if caller is CLERK else Gap(GapReason.RIGHTS_CHANGED))


async def _first(telling, count):
    """Yield the first few."""
    async for told in telling:
        yield told
        count -= 1
        if not count:
            return


@pytest.mark.parametrize("caller", CALLERS, ids=lambda one: one.id or "nobody")
async def test_a_put_keeps_what_its_caller_does_not_see(desk, caller):
    """Who puts back what they have read changes nothing else; what they see and leave out goes, what they do not see stays."""
    (state,) = await desk.get(caller, [("cases", "1")])
    await desk.change(caller, "cases", "1", Put(state.data), expected=None)
    (kept,) = await desk.get(CLERK, [("cases", "1")])
    assert is_same(kept.data, WHOLE)
    await desk.change(caller, "cases", "1", Put(b"{}"), expected=1 + 1)
    (left,) = await desk.get(CLERK, [("cases", "1")])
    price = {"price"} - ({"price"} if caller is CLERK else set())
    assert names(left.data) == ({name for name in SEEN["clerk"] if name not in SEEN[caller.id]} | price)


SETS = {
    "notes": ({"notes": "x"}, {"clerk"}),
    "notes null": ({"notes": None}, {"clerk"}),
    "the same notes": ({"notes": "n-secret"}, {"clerk"}),
    "email": ({"person": {"name": "P", "email": "x"}}, {"clerk", "ada"}),
    "person gone": ({"person": None}, {"clerk", "ada"}),
    "price": ({"price": 6}, {"clerk"}),
    "the same price": ({"price": 5}, {"clerk", "ada", "bob", ""}),
    "price null": ({"price": None}, {"clerk"}),
    "complaint": ({"complaint": "x"}, {"clerk", "ada"}),
    "title": ({"title": "U"}, {"clerk", "ada", "bob", ""}),
    "name": ({"person": {"name": "Q"}}, {"clerk", "ada", "bob", ""}),
}
"""What is sent, and who may."""


@pytest.mark.parametrize("what", SETS)
@pytest.mark.parametrize("make", [Put, Patch, lambda data: Transition("close", data)], ids=["put", "patch", "transition"])
@pytest.mark.parametrize("caller", CALLERS, ids=lambda one: one.id or "nobody")
async def test_a_field_is_set_by_who_may(desk, make, what, caller):
    """Setting what is not theirs is refused with its place, and nothing is written. What they see they may send as it is."""
    sent, may = SETS[what]
    change = desk.change(caller, "cases", "1", make(orjson.dumps(sent)), expected=None)
    if caller.id in may:
        assert (await change).version == 2
        return
    with pytest.raises(StateDataInvalidError) as refused:
        await change
    (violation,) = refused.value.violations
    assert "not yours to set" in violation.detail
    assert violation.pointer.strip("/").split("/")[0] in sent
    assert (await desk.get(CLERK, [("cases", "1")]))[0].version == 1


@pytest.mark.parametrize(
    ("data", "may"),
    [
        (b'{"title": "a"}', {"clerk", "ada", "bob"}),
        (b'{"price": 1}', {"clerk"}),
        (b'{"complaint": "x"}', {"clerk", "ada", "bob"}),
        (b'{"person": {"email": "x"}}', {"clerk", "ada", "bob"}),
        (b'{"person": null}', {"clerk", "ada", "bob"}),
        (b'{"notes": null}', {"clerk"}),
        (b"[1]", {"clerk"}),
    ],
)
async def test_who_creates_is_the_owner(desk, data, may):
    """Of a new object the caller is the owner; a field that takes more is refused at creation too."""
    for caller in (CLERK, ADA, BOB):
        change = desk.change(caller, "cases", f"new-{caller.id}", Put(data), expected=0)
        if caller.id in may:
            assert (await change).version == 1
            await desk.change(CLERK, "cases", f"new-{caller.id}", Delete(), expected=None)
        else:
            with pytest.raises(StateDataInvalidError):
                await change


async def test_a_transaction_is_refused_at_the_field(desk):
    """The operation names itself; nothing is written."""
    operations = [Asked("cases", "2", Put(b"{}")), Asked("cases", "1", Patch(b'{"notes": "x"}'))]
    with pytest.raises(StateDataInvalidError) as refused:
        await desk.transact(BOB, operations)
    assert refused.value.metadata["index"] == "1"
    assert [violation.pointer for violation in refused.value.violations] == ["/notes"]
    assert await desk.get(CLERK, [("cases", "2")]) == []


async def test_what_is_hidden_answers_no_query(desk):
    """A filter, a sort or a count on a hidden field is refused as on one that no index has, and no index with one is used."""
    for request in (
        ListRequest(filters=[Filter("notes", "eq", ("n-secret",))]),
        ListRequest(filters=[Filter("title", "eq", ("T",)), Filter("notes", "gt", ("a",))]),
        ListRequest(sort="notes"),
        ListRequest(sort="person.email"),
        ListRequest(filters=[Filter("person.email", "exists", ("true",))], count_up_to=10),
    ):
        with pytest.raises(InvalidInputError) as refused:
            await desk.list_states(BOB, "cases", request)
        told = f"{refused.value.detail}{refused.value.metadata}{[found.detail for found in refused.value.violations]}"
        known = told.partition("no index of the namespace has this field; there are: ")[2]
        assert "title" in known, told
        assert not {"notes", "person"} & set(re.findall("[a-z_]+", known)), told
        assert (await desk.list_states(CLERK, "cases", request)).items is not None
    found = await desk.list_states(BOB, "cases", ListRequest(filters=[Filter("title", "eq", ("T",))], sort="title"))
    assert [state.key.key for state in found.items] == ["1"]


async def test_lists_go_by_a_hidden_index_for_nobody(environment, grants, memory):
    """Who lists their own objects only finds them by what they see of these."""
    own = replace(CASES, access=replace(CASES.access, list=AccessRule(("owner", "desk:all"))))
    await memory.declare(all_indexes({"cases": own}))
    async with StateManager.open({"cases": own}, environment, max_data_bytes=10_000) as manager:
        await manager.change(ADA, "cases", "1", Put(b'{"person": {"email": "a"}}'), expected=0)
        by_email = ListRequest(filters=[Filter("person.email", "eq", ("a",))])
        assert len((await manager.list_states(ADA, "cases", by_email)).items) == 1
        assert len((await manager.list_states(BOB, "cases", by_email)).items) == 0
        with pytest.raises(InvalidInputError):
            await manager.list_states(ADA, "cases", ListRequest(sort="notes"))


async def test_a_unique_refusal_does_not_tell_whose_the_value_is(desk):
    """That a value is taken must be said; who has it only to those who see the field there."""
    data = b'{"person": {"email": "e-secret"}}'
    with pytest.raises(StateNotUniqueError) as refused:
        await desk.change(BOB, "cases", "2", Put(data), expected=0)
    assert "key" not in refused.value.metadata
    with pytest.raises(StateNotUniqueError) as refused:
        await desk.change(CLERK, "cases", "2", Put(data), expected=0)
    assert refused.value.metadata["key"] == "1"


async def test_bringing_back_keeps_what_is_closed(desk):
    """An older version comes back but for what is closed to the caller; a deletion is undone by who may set all of it."""
    await desk.change(CLERK, "cases", "1", Put(b'{"title": "U", "notes": "new", "price": 9}'), expected=1)
    await desk.change(BOB, "cases", "1", Restore(1), expected=2)
    (state,) = await desk.get(CLERK, [("cases", "1")])
    assert loads(state.data) == {"title": "T", "person": {"name": "P"}, "notes": "new", "price": 9}
    await desk.change(CLERK, "cases", "1", Delete(), expected=3)
    with pytest.raises(StateDataInvalidError) as refused:
        await desk.change(BOB, "cases", "1", Restore(3), expected=None)
    assert {violation.pointer for violation in refused.value.violations} == {"/notes", "/price"}
    await desk.change(CLERK, "cases", "1", Restore(3), expected=None)


async def test_a_former_owners_history_is_not_the_new_owners(desk):
    """Whose fields they are is asked of the object of that time: a key may have belonged to another before."""
    await desk.change(CLERK, "cases", "1", Delete(), expected=1)
    await desk.change(BOB, "cases", "1", Put(b'{"person": {"email": "b-secret"}}'), expected=0)
    entries = (await desk.list_history(BOB, "cases", "1")).items
    assert [names(entry.data) if entry.data else set() for entry in entries] == [{"person.email"}, set(), SEEN["bob"]]
    assert "e-secret" in str((await desk.list_history(CLERK, "cases", "1")).items)


async def test_a_hidden_value_that_the_schema_refuses_is_not_described(environment, grants):
    """A finding at a field that the caller does not see names the place only."""
    strict = replace(CASES, indexes=(), schema={"type": "object", "properties": {"notes": {"type": "string", "maxLength": 3}}})
    async with StateManager.open({"cases": replace(CASES, indexes=())}, environment, max_data_bytes=10_000) as manager:
        grants.by_subject["ada"] = {"desk:all"}
        await manager.change(ADA, "cases", "1", Put(b'{"notes": "too long"}'), expected=0)
    async with StateManager.open({"cases": strict}, environment, max_data_bytes=10_000) as manager:
        with pytest.raises(StateDataInvalidError) as refused:
            await manager.change(BOB, "cases", "1", Patch(b'{"title": "x"}'), expected=None)
    assert [violation.detail for violation in refused.value.violations] == [
        "is not what the schema asks for, in a field that you may not see"
    ]


async def test_a_before_hook_sees_and_sets_all(environment, hooks, grants):
    """It is the module's own code."""
    hooked = replace(CASES, indexes=(), before={"updated": BeforeHook("desk", "updated")})
    async with StateManager.open({"cases": hooked}, environment, max_data_bytes=10_000) as manager:
        grants.by_subject["ada"] = {"desk:all"}
        await manager.change(ADA, "cases", "1", Put(b'{"notes": "n"}'), expected=0)

        async def answer(_hook: Any, event: Any) -> bytes:
            assert loads(event.data)["data"] == {"notes": "n", "title": "x"}
            return b'{"notes": "by the hook"}'

        hooks.answer = answer
        await manager.change(BOB, "cases", "1", Put(b'{"title": "x"}'), expected=None)
        assert [names(state.data) for state in await manager.get(BOB, [("cases", "1")])] == [set()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)


@given(JSON, PATHS)
def test_what_is_left_has_nothing_at_the_paths(value, paths):
    """Whatever the data is, nothing stands at a hidden path, or in what is no object on the way; the rest is as it was."""
    text = orjson.dumps(value)
    left = without(text, paths)
    for path in paths:
        assert find(left, path).value is None
    assert without(left, paths) == left
    outside = [path for path in _leaves(value) if not any(path[: len(one)] == one[: len(path)] for one in paths)]
    if isinstance(value, dict):
        assert all(find(left, path).value == find(text, path).value for path in outside)


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.dictionaries(st.sampled_from("abc"), JSON), PATHS)
def test_a_put_of_what_was_seen_keeps_the_rest(present, other, paths):
    """What a caller reads and puts back leaves the data as it was, whatever is hidden; what is hidden survives every PUT."""
    text, sent = orjson.dumps(present), orjson.dumps(other)
    closed = Closed(hidden=tuple(paths), locked=tuple(paths))
    try:
        after = closed.kept(without(sent, paths), text)
    except StylobateError:
        return
    for path in paths:
        value = find(text, path).value
        assert value is None or find(after, path).value == value


def _leaves(value, path=()):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    elif path:
        yield path


def test_a_value_is_set_at_its_path():
    """Objects on the way are made."""
    assert loads(with_value(b'{"a": {"x": 1}}', ("a", "b", "c"), b"2")) == {"a": {"x": 1, "b": {"c": 2}}}
    assert is_same(b'{"a": 1, "b": 2.0}', b'{"b": 2.0, "a": 1}')
    assert not is_same(b"1", b"true")
