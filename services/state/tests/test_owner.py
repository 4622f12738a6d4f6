"""Whose an object is: who chooses it, who is shown it, what follows it when the object is handed over."""

from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.declarations.model import AccessRule, BeforeHook, IndexDeclaration, IndexField, TimerDeclaration
from stylobate.errors import InvalidInputError, PermissionDeniedError, UnauthenticatedError
from stylobate_state.errors import StateOwnerNotWritableError
from stylobate_state.filters import Filter
from stylobate_state.history_reader import HistoryRequest
from stylobate_state.index import indexes_of
from stylobate_state.model import Change, HistoryQuery, ListQuery, Refused, StateKey, TimerStart
from stylobate_state.operation import Assign, Fire, Patch, Put, Transition
from stylobate_state.spec import SPEC
from stylobate_state.state_lister import ListRequest
from stylobate_state.state_manager import Asked, StateManager

from .samples import ADA, ANONYMOUS, BOB, HANDLER, ORDERS, write

ROOT = replace(ADA, id="root")
OWN = replace(
    ORDERS,
    name="own",
    schema=None,
    access=replace(ORDERS.access, assign=AccessRule(("owner", "orders:assign"))),
    timers=(TimerDeclaration("pending", timedelta(minutes=15), "cancel"),),
)
SHOWN = replace(OWN, name="shown", access=replace(OWN.access, read=AccessRule(("public",)), list=AccessRule(("public",))))
TOLD = replace(SHOWN, name="told", access=replace(SHOWN.access, show_owner=AccessRule(("authenticated",))))


@pytest_asyncio.fixture
async def manager(environment, grants):
    """Give a manager of orders that may be handed over; root may assign, and read all."""
    grants.by_subject["root"] = {"orders:assign", "orders:read"}
    declarations = {one.name: one for one in (OWN, SHOWN, TOLD, ORDERS)}
    async with StateManager.open(declarations, environment, max_data_bytes=10_000) as manager:
        yield manager


async def place(manager, namespace="own", key="1", who=HANDLER, **put):
    """Create an order."""
    return await manager.change(who, namespace, key, Put(b'{"total": 1}', **put), expected=None)


async def assign(manager, who, owner, namespace="own", key="1", expected=None):
    """Hand it over."""
    return await manager.change(who, namespace, key, Assign(owner), expected=expected)


async def test_a_hand_over_is_a_change_of_its_own(manager, log):
    """Data and status stay; version, owner, event and history tell of it."""
    await place(manager)
    state = await assign(manager, ADA, "bob", expected=1)
    assert (state.version, state.owner, state.status, state.data) == (2, "bob", "pending", b'{"total": 1}')
    (entry, first) = (await manager.list_history(ROOT, "own", "1")).items
    assert (entry.change, entry.owner, entry.previous_owner, entry.actor) == (Change.ASSIGNED, "bob", "ada", "ada")
    assert (entry.from_status, entry.to_status, entry.data) == ("pending", "pending", b'{"total": 1}')
    assert (first.change, first.owner, first.previous_owner) == (Change.CREATED, "ada", "")
    with pytest.raises(StateVersionConflictError):
        await assign(manager, ROOT, "carl", expected=1)


def test_hooks_may_listen_to_every_change():
    """What the service says that it tells of is what it tells of: a hook on anything else is refused."""
    assert set(SPEC.events) == {f"state.*.{change}" for change in Change}


async def test_every_rule_of_the_owner_follows_at_once(manager):
    """The former owner is told what anybody is told of an object that is not there; the new one reads, lists and moves it."""
    await place(manager)
    await assign(manager, ADA, "bob")
    assert await manager.get(ADA, [("own", "1")]) == []
    assert (await manager.list_states(ADA, "own")).items == []
    for asked in (
        manager.list_history(ADA, "own", "1"),
        manager.change(ADA, "own", "1", Transition("pay"), expected=None),
        assign(manager, ADA, "ada"),
    ):
        with pytest.raises(StateNotFoundError):
            await asked
    assert [state.owner for state in (await manager.list_states(BOB, "own")).items] == ["bob"]
    assert (await manager.change(BOB, "own", "1", Transition("pay"), expected=None)).status == "paid"


async def test_a_new_owner_sees_the_history_from_the_hand_over_on(manager):
    """What it was before is not theirs; handed to the same owner again it stays theirs from where it was."""
    await place(manager)
    await manager.change(HANDLER, "own", "1", Patch(b'{"secret": 1}'), expected=None)
    await assign(manager, ADA, "bob")
    await assign(manager, ROOT, "bob")
    assert [entry.version for entry in (await manager.list_history(BOB, "own", "1")).items] == [4, 3]
    assert [entry.version for entry in (await manager.list_history(ROOT, "own", "1")).items] == [4, 3, 2, 1]
    await assign(manager, BOB, "ada")
    assert [entry.version for entry in (await manager.list_history(ADA, "own", "1")).items] == [5]


@pytest.mark.parametrize("who", [BOB, ANONYMOUS, HANDLER.with_via("gateway")], ids=["bob", "nobody", "ada in another namespace"])
async def test_assign_is_closed_until_it_is_said(manager, who):
    """Nobody hands over what a namespace does not open, nor another's object; who may not read it hears nothing of it."""
    await place(manager)
    await place(manager, "orders")
    namespace = "orders" if who.id == "ada" else "own"
    expected = {"bob": StateNotFoundError, "": UnauthenticatedError, "ada": PermissionDeniedError}[who.id]
    with pytest.raises(expected):
        await assign(manager, who, "eve", namespace)
    absent = {"bob": StateNotFoundError, "": UnauthenticatedError, "ada": PermissionDeniedError}[who.id]
    with pytest.raises(absent):
        await assign(manager, who, "eve", namespace, "none")


async def test_an_object_is_created_in_anothers_name_by_who_may(manager, environment):
    """`create` and `assign` must both let the caller in; one's own name needs no `assign`; the event says whose it is."""
    with pytest.raises(PermissionDeniedError) as caught:
        await place(manager, owner="bob")
    assert caught.value.metadata["permission"] == "orders:assign"
    with pytest.raises(PermissionDeniedError):
        await place(manager, "orders", owner="bob")
    assert (await place(manager, owner="ada")).owner == "ada"
    with pytest.raises(PermissionDeniedError):
        await manager.change(ROOT, "own", "2", Put(b"{}", owner="bob"), expected=None)
    state = await manager.change(ROOT.with_via("actions"), "own", "2", Put(b"{}", owner="bob"), expected=None)
    (entry,) = (await manager.list_history(BOB, "own", "2")).items
    assert (state.owner, entry.actor, entry.owner) == ("bob", "root", "bob")
    assert await environment.store.owner_before(state.key, 9) == "bob"


async def test_a_put_changes_no_owner(manager):
    """The owner that an object has may be said; another is refused, and nothing is written."""
    await place(manager, owner="ada")
    assert (await place(manager, owner="ada")).version == 2
    with pytest.raises(StateOwnerNotWritableError):
        await place(manager, who=ROOT.with_via("actions"), owner="bob")
    assert (await manager.get(ADA, [("own", "1")]))[0].version == 2


@pytest.mark.parametrize("owner", ["", "service:state", "a b", "ä", "a\n", "x" * 256])
async def test_what_can_be_no_users_id_owns_nothing(manager, owner):
    """It is refused with its place, by whomever it is asked, after access."""
    await place(manager)
    for asked in (assign(manager, ADA, owner), place(manager, key="2", who=ROOT.with_via("actions"), owner=owner)):
        with pytest.raises(InvalidInputError) as caught:
            await asked
        assert [violation.pointer for violation in caught.value.violations] == ["/owner"]
    with pytest.raises(StateNotFoundError):
        await assign(manager, BOB, owner)
    assert [state.version for state in (await manager.list_states(ROOT, "own")).items] == [1]


async def test_a_transaction_hands_over_all_or_nothing(manager):
    """One that may not be handed over keeps the others where they are, and names itself."""
    await place(manager)
    await place(manager, "orders")
    both = [Asked("own", "1", Assign("bob")), Asked("orders", "1", Assign("bob"))]
    with pytest.raises(PermissionDeniedError) as caught:
        await manager.transact(ADA, both)
    assert caught.value.metadata["index"] == "1"
    assert (await manager.get(ADA, [("own", "1")]))[0].owner == "ada"
    handed, made = await manager.transact(ROOT.with_via("actions"), [both[0], Asked("own", "2", Put(b"{}", owner="carl"))])
    assert (handed.owner, handed.version, made.owner) == ("bob", 2, "carl")


async def test_a_timer_is_fired_in_the_name_of_whoever_owns_the_object_then(manager, environment):
    """It stays as it was set, also when the queue was read before the hand-over."""
    placed = await place(manager)
    state = await assign(manager, ADA, "bob")
    assert state.timers == placed.timers != ()
    await manager.fire(state.key, "ada", Fire("cancel", since=1))
    (entry, *_) = (await manager.list_history(ROOT, "own", "1")).items
    assert (entry.event, entry.actor) == ("cancel", "bob")


async def test_before_hooks_see_who_gets_it(environment, hooks, manager):
    """A hook on `assigned` is told both owners, and may refuse."""
    declaration = replace(OWN, name="hooked", before={"assigned": BeforeHook("shop", "check")})
    async with StateManager.open({"hooked": declaration}, environment, max_data_bytes=1000) as hooked:
        await place(hooked, "hooked")
        await assign(hooked, ADA, "bob", "hooked")
    ((hook, event),) = hooks.asked
    assert (hook.method, event.type) == ("check", "state.hooked.assigned")
    assert (event.value()["owner"], event.value()["previous_owner"], event.value()["version"]) == ("bob", "ada", 1)


async def test_ids_are_shown_to_those_whom_they_concern(manager):
    """By permission, as the owner and through a handler; not to who reads what is public, unless `show_owner` says so."""
    for namespace in ("shown", "told"):
        await place(manager, namespace)
        await assign(manager, ADA, "bob", namespace)
    expected = {
        ("shown", ANONYMOUS): ("", ["", ""]),
        ("told", ANONYMOUS): ("", ["", ""]),
        ("shown", replace(ADA, id="carl")): ("", ["", ""]),
        ("told", replace(ADA, id="carl")): ("bob", ["ada", "ada"]),
        ("shown", BOB): ("bob", ["ada", "ada"]),
        ("shown", ADA): ("", ["ada", "ada"]),  # her own deeds
        ("shown", replace(ADA, id="carl").with_via("actions")): ("bob", ["ada", "ada"]),
    }
    for (namespace, who), (owner, actors) in expected.items():
        (read,) = await manager.get(who, [(namespace, "1")])
        (listed,) = (await manager.list_states(who, namespace)).items
        history = (await manager.list_history(who, namespace, "1")).items
        assert (read.owner, listed.owner, [entry.actor for entry in history]) == (owner, owner, actors), (namespace, who)
        assert history[0].owner == owner
        assert history[0].previous_owner == actors[0]
        found = (await manager.list_history(who, namespace, "1", HistoryRequest(actor="ada"))).items
        assert len(found) == actors.count("ada"), "who is not shown is not found either"


async def test_no_id_is_found_bit_by_bit(environment, memory):
    """In the order of owners one could look for ids; who is not shown them may ask for one that is known, and no more."""
    declaration = replace(SHOWN, indexes=(IndexDeclaration((IndexField("owner", "text"), IndexField("total", "number"))),))
    await memory.declare(indexes_of(declaration))
    async with StateManager.open({"shown": declaration}, environment, max_data_bytes=1000) as manager:
        await place(manager, "shown")
        for asked in (
            ListRequest(sort="owner"),
            ListRequest(filters=[Filter("owner", "prefix", ("a",))]),
            ListRequest(filters=[Filter("owner", "gte", ("a",))]),
        ):
            with pytest.raises(PermissionDeniedError):
                await manager.list_states(BOB, "shown", asked)
        known = ListRequest(filters=[Filter("owner", "eq", ("ada",)), Filter("total", "gte", ("0",))])
        assert len((await manager.list_states(BOB, "shown", known)).items) == 1


async def test_the_store_hands_over_at_the_version_seen_only(store):
    """Compared and set like any other change; entries, timers and the first version of the new owner follow."""
    key, other = StateKey("default", "orders", "a"), StateKey("default", "orders", "b")
    timer = TimerStart("cancel", timedelta(hours=1))
    await store.write([write(key, 0, status="pending", timers=(timer,)), write(other, 0)])
    hand = write(key, 1, change=Change.ASSIGNED, owner="bob", actor="root")
    assert await store.write([write(key, 2, change=Change.ASSIGNED, owner="bob")]) == [Refused(1)]
    (written, other_written) = await store.write([hand, write(other, 1, b'{"n": 1}')])
    assert (written.version, written.owner, written.first_version, other_written.first_version) == (2, "bob", 2, 1)
    assert [one.since for one in written.timers] == [1]
    assert await store.write([write(key, None, owner="ada")]) == [Refused(2)]
    (again,) = await store.write([write(key, 2, change=Change.ASSIGNED, owner="bob")])
    assert again.first_version == 2
    (_, entry, _) = (await store.list_history(HistoryQuery(key, 9))).items
    told = (entry.change, entry.actor, entry.owner, entry.previous_owner, entry.from_status, entry.to_status)
    assert told == (Change.ASSIGNED, "root", "bob", "ada", "pending", "pending")
    owned = [state.key.key for state in (await store.list_states(ListQuery("default", "orders", 9, owner="bob"))).items]
    assert owned == ["a"]
