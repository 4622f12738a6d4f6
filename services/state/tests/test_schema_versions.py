"""Schema versions: older data is read and built upon as data of today, whoever upgrades it and whatever fails."""

import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate.api.actions.v1 import module_service_pb2 as pb
from stylobate.clients.bans import BanList
from stylobate.errors import StylobateError, UnavailableError
from stylobate_state.convert import to_state
from stylobate_state.history_reader import Moment
from stylobate_state.model import StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.operation import Delete, Patch, Put, Restore, Transition
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.upgrades import Upgrades
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Snapshot
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .samples import ADA, HANDLER, ORDERS, deletion, write

A, B = (StateKey("default", "orders", key) for key in "ab")
OLD = ORDERS
NEW = replace(
    ORDERS,
    schema_version=2,
    upgrade="with_currency",
    schema={
        "type": "object",
        "properties": {"total": {"type": "integer"}, "currency": {"enum": ["EUR"]}, "paid_by": {"type": "string"}},
        "required": ["total", "currency"],
        "additionalProperties": False,
    },
)


class Module:
    """Upgrades as a module does, in the place of the actions service; remembers what it was asked."""

    def __init__(self):
        self.calls = []
        self.is_away = False

    async def ask(self, request):
        """Add the currency; of 13 it makes nothing, of 666 nonsense."""
        if self.is_away:
            raise UnavailableError
        self.calls.append([(json.loads(item.data)["total"], item.from_version) for item in request.items])
        return pb.UpgradeStatesResponse(items=map(self._item, request.items))

    def _item(self, item):
        data = json.loads(item.data)
        if data["total"] == 13:
            return pb.UpgradedData(fault="ValueError: unlucky")
        currency = "gold" if data["total"] == 666 else "EUR"
        return pb.UpgradedData(data=json.dumps(data | {"currency": currency}).encode())


@pytest.fixture
def module():
    """Give what upgrades."""
    return Module()


@pytest.fixture
def managing(environment, module):
    """Give what opens a manager with a declaration, over one store."""
    upgraded = replace(environment, upgrades=Upgrades(module.ask))

    @asynccontextmanager
    async def run(declaration):
        async with StateManager.open({"orders": declaration}, upgraded, max_data_bytes=1000) as manager:
            yield manager

    return run


async def kept(managing, **totals):
    """Write orders as the release before did."""
    async with managing(OLD) as manager:
        for key, total in totals.items():
            await manager.change(HANDLER, "orders", key, Put(json.dumps({"total": total}).encode()), expected=0)


async def data_of(manager, key="a"):
    """Return the order as its owner reads it."""
    (state,) = await manager.get(ADA, [("orders", key)])
    return json.loads(state.data)


async def test_the_version_is_kept_with_the_object(store):
    """Every write says it: of a creation, an update, and one over what a newer release wrote; lists show it as reads do."""
    await store.write([write(A, 0), write(B, 0, schema_version=3)])
    found = await store.read([A, B])
    assert (found[A].schema_version, found[B].schema_version) == (1, 3)
    (written,) = await store.write([write(B, None, schema_version=2)])
    assert written.version == 2
    assert (await store.read([B]))[B].schema_version == 2


async def test_older_data_is_read_as_that_of_today(managing, module):
    """One object, several at once, a list: one call for all that is older, none where nothing is, and nothing is written."""
    await kept(managing, a=1, b=2)
    async with managing(NEW) as manager:
        assert await data_of(manager) == {"total": 1, "currency": "EUR"}
        await manager.change(HANDLER, "orders", "c", Put(b'{"total": 3, "currency": "EUR"}'), expected=0)
        module.calls.clear()
        page = await manager.list_states(ADA, "orders")
        assert [json.loads(state.data) for state in page.items] == [{"total": n, "currency": "EUR"} for n in (1, 2, 3)]
        assert module.calls == [[(1, 1), (2, 1)]]
        assert [(state.version, to_state(state).schema_version) for state in page.items] == [(1, 0), (1, 0), (1, 0)]
        module.calls.clear()
        await data_of(manager, "c")
        assert module.calls == []


async def test_changes_build_on_the_data_of_today(managing, module):
    """PATCH and events find it and store it; then nobody is asked any more. PUT and DELETE ask nobody."""
    await kept(managing, a=1, b=2, c=3, d=4)
    async with managing(NEW) as manager:
        patched = await manager.change(HANDLER, "orders", "a", Patch(b'{"total": 9}'), expected=1)
        assert json.loads(patched.data) == {"total": 9, "currency": "EUR"}
        paid = await manager.change(ADA, "orders", "b", Transition("pay"), expected=None)
        assert (json.loads(paid.data), paid.version) == ({"total": 2, "currency": "EUR"}, 2)
        module.calls.clear()
        await manager.change(HANDLER, "orders", "c", Put(b'{"total": 5, "currency": "EUR"}'), expected=None)
        await manager.transact(HANDLER, [Asked("orders", "a", Patch(b'{"total": 7}')), Asked("orders", "c", Patch(b"{}"))])
        assert [(await data_of(manager, key))["total"] for key in "abc"] == [7, 2, 5]
        assert module.calls == []
        changed = await manager.transact(HANDLER, [Asked("orders", "d", Patch(b'{"total": 8}'))])
        assert (json.loads(changed[0].data), module.calls) == ({"total": 8, "currency": "EUR"}, [[(4, 1)]])
        history = await manager.list_history(ADA, "orders", "b")
        assert [json.loads(entry.data) for entry in history.items] == [{"total": 2, "currency": "EUR"}, {"total": 2}]


async def test_an_older_version_is_brought_back_as_data_of_today(managing, module):
    """History says under which schema version it was written; what is restored is upgraded, or refused by name."""
    await kept(managing, a=1, b=13)
    async with managing(NEW) as manager:
        for key in "ab":
            await manager.change(HANDLER, "orders", key, Put(b'{"total": 2, "currency": "EUR"}'), expected=1)
        history = (await manager.list_history(ADA, "orders", "a")).items
        assert [(entry.version, entry.schema_version) for entry in history] == [(2, 2), (1, 1)]
        then = await manager.version(ADA, "orders", "a", Moment(1))
        assert (json.loads(then.data), to_state(then).schema_version) == ({"total": 1}, 1)
        restored = await manager.change(HANDLER, "orders", "a", Restore(1), expected=None)
        assert json.loads(restored.data) == {"total": 1, "currency": "EUR"}
        with pytest.raises(StylobateError) as refused:
            await manager.change(HANDLER, "orders", "b", Restore(1), expected=None)
        assert refused.value.reason == "STATE_UPGRADE_FAILED"
        module.is_away = True
        assert (await manager.change(HANDLER, "orders", "a", Restore(2), expected=3)).version == 4


async def test_while_the_module_is_away_only_older_data_waits_for_it(managing, module, grants):
    """503 for reads and changes of it; not for what is of today, not for who may not know of it, not for PUT and DELETE."""
    await kept(managing, a=1, b=2, c=3)
    grants.by_subject["ada"] = {"orders:admin"}
    async with managing(NEW) as manager:
        await data_of(manager)
        await manager.change(HANDLER, "orders", "b", Put(b'{"total": 2, "currency": "EUR"}'), expected=None)
        module.is_away = True
        assert await data_of(manager, "b") == {"total": 2, "currency": "EUR"}
        await manager.change(ADA, "orders", "b", Transition("pay"), expected=None)
        for asked in (
            manager.get(ADA, [("orders", "a"), ("orders", "b")]),
            manager.list_states(ADA, "orders"),
            manager.change(ADA, "orders", "a", Transition("pay"), expected=None),
            manager.transact(HANDLER, [Asked("orders", "b", Patch(b"{}")), Asked("orders", "a", Patch(b"{}"))]),
        ):
            with pytest.raises(StylobateError) as refused:
                await asked
            assert (refused.value.reason, refused.value.http_status) == ("STATE_UPGRADE_UNAVAILABLE", 503)
            assert refused.value.retry_after == timedelta(seconds=1)
        assert await manager.get(HANDLER.with_via("actions"), [("orders", "none")]) == []
        await manager.change(ADA, "orders", "a", Delete(), expected=None)
        await manager.change(HANDLER, "orders", "c", Put(b'{"total": 3, "currency": "EUR"}'), expected=1)


@pytest.mark.parametrize("total", [13, 666])
async def test_what_cannot_be_upgraded_is_shown_as_stored(managing, module, total):
    """The method raises, or the schema refuses its data: reads show the older data, marked; changes are refused by name."""
    await kept(managing, a=total, b=2)
    async with managing(NEW) as manager:
        page = await manager.list_states(ADA, "orders")
        assert [json.loads(state.data) for state in page.items] == [{"total": total}, {"total": 2, "currency": "EUR"}]
        assert [to_state(state).schema_version for state in page.items] == [1, 0]
        with pytest.raises(StylobateError) as refused:
            await manager.change(HANDLER, "orders", "a", Patch(b'{"total": 1}'), expected=None)
        assert (refused.value.reason, refused.value.http_status) == ("STATE_UPGRADE_FAILED", 500)
        assert refused.value.metadata == {"namespace": "orders", "key": "a", "from_version": "1"}
        assert "unlucky" not in refused.value.detail
        await manager.change(HANDLER, "orders", "a", Put(b'{"total": 1, "currency": "EUR"}'), expected=1)
        assert await data_of(manager) == {"total": 1, "currency": "EUR"}


async def test_older_declarations_do_not_build_on_newer_data(managing, module):
    """During a deployment the old process shows what the new one wrote, marked, and leaves changing it to the new one."""
    async with managing(NEW) as manager:
        await manager.change(HANDLER, "orders", "a", Put(b'{"total": 1, "currency": "EUR"}'), expected=0)
    async with managing(OLD) as manager:
        (state,) = await manager.get(ADA, [("orders", "a")])
        assert (json.loads(state.data), to_state(state).schema_version) == ({"total": 1, "currency": "EUR"}, 2)
        for operation in (Patch(b'{"total": 2}'), Transition("pay")):
            with pytest.raises(StylobateError) as refused:
                await manager.change(HANDLER, "orders", "a", operation, expected=None)
            assert (refused.value.reason, refused.value.http_status) == ("STATE_SCHEMA_NEWER", 503)
        await manager.change(HANDLER, "orders", "a", Put(b'{"total": 5}'), expected=None)
    async with managing(NEW) as manager:
        assert await data_of(manager) == {"total": 5, "currency": "EUR"}
        assert module.calls[-1] == [(5, 1)]


async def test_a_watch_begins_with_data_of_today(managing, module, environment, log):
    """Its snapshot is what a read shows; what happened before is told as it was written."""
    await kept(managing, a=1)
    watching = WatchEnvironment(
        log, Feed(log), environment.store, environment.access, BanList(), lambda _: False, upgrades=Upgrades(module.ask)
    )
    async with (
        managing(NEW) as manager,
        WatchManager.open(manager.namespaces, watching, StateSettings()) as watches,
        aclosing(watches.watch(ADA, "", "orders", "a")) as telling,
    ):
        _, snapshot = await anext(telling)
    assert isinstance(snapshot, Snapshot)
    assert [json.loads(state.data) for state in snapshot.states] == [{"total": 1, "currency": "EUR"}]


async def test_access_comes_before_upgrades(managing, module):
    """Who may not read an object has nothing of it upgraded, and hears nothing of that."""
    await kept(managing, a=1)
    module.is_away = True
    bob = replace(ADA, id="bob")
    async with managing(NEW) as manager:
        assert await manager.get(bob, [("orders", "a")]) == []
        with pytest.raises(StylobateError) as refused:
            await manager.change(bob, "orders", "a", Transition("pay"), expected=None)
        assert refused.value.reason == "STATE_NOT_FOUND"


async def test_long_data_goes_in_several_calls(environment, module):
    """What is asked at once stays well below what a message may hold, and answers come back in order."""
    open_ended = replace(NEW, schema={"type": "object"})
    records = []
    for number in range(40):
        key = StateKey("default", "orders", str(number))
        data = json.dumps({"total": number, "pad": "x" * 240_000}).encode()
        await environment.store.write([write(key, 0, data)])
        records += (await environment.store.read([key])).values()
    namespace = Namespace.of(open_ended, [], max_data_bytes=300_000)
    found = await Upgrades(module.ask).shown([(namespace, record) for record in records])
    assert len(module.calls) == 3
    assert [json.loads(state.data)["total"] for state in found] == list(range(40))
    assert [state.key.key for state in found if state.is_other_schema] == ["13"]


async def through(step, name="orders"):
    """Take all steps over a namespace; return what they came to together."""
    looked, migrated, findings, place = 0, 0, [], ""
    while True:
        done = await step(name, place)
        looked, migrated, place = looked + done.looked, migrated + done.migrated, done.next_place
        findings += done.findings
        if not place:
            return looked, migrated, [(found.key.key, found.version, found.schema_version, found.problem) for found in findings]


async def test_moving_stores_the_data_of_today_as_a_change_of_its_own(managing, module, memory, log):
    """A version, an entry and an event each, by the service; when it last changed stays, and nobody is asked from then on."""
    await kept(managing, a=1, b=2)
    before = {key: memory.objects[key] for key in (A, B)}
    async with managing(NEW) as manager:
        memory.clock.advance(timedelta(hours=3))
        assert await through(manager.keeper.migrate) == (2, 2, [])
        module.calls.clear()
        assert await data_of(manager) == {"total": 1, "currency": "EUR"}
        assert await through(manager.keeper.migrate) == (2, 0, [])
        assert module.calls == []
        history = await manager.list_history(ADA, "orders", "a")
    assert [(entry.version, entry.change, entry.actor) for entry in history.items] == [
        (2, "migrated", "service:state"), (1, "created", "ada"),
    ]  # fmt: skip
    assert history.items[0].time - history.items[1].time == timedelta(hours=3)
    after = memory.objects[A]
    assert (after.version, after.schema_version, after.updated_at) == (2, 2, before[A].updated_at)
    assert after.owner == before[A].owner
    assert [event.type for event in log._unnumbered][-2:] == ["state.orders.migrated"] * 2


async def test_what_cannot_be_moved_is_named_and_the_rest_is(managing, module):
    """The run goes on; the next one tries again only what is left."""
    await kept(managing, a=1, b=13, c=666, d=4)
    async with managing(NEW) as manager:
        problems = [
            ("b", 1, 1, "ValueError: unlucky"),
            ("c", 1, 1, 'the schema refuses what with_currency made: /currency: the value is not one of "EUR"'),
        ]
        assert await through(manager.keeper.check) == (4, 0, problems)
        looked, migrated, found = await through(manager.keeper.migrate)
        assert (looked, migrated, found) == (4, 2, problems)
        module.calls.clear()
        assert (await through(manager.keeper.migrate))[1] == 0
        assert module.calls == [[(13, 1), (666, 1)]]


async def test_a_step_moves_a_bounded_part_and_the_next_goes_on_there(managing, module, memory):
    """Steps end behind the last object that they moved; what is deleted, or of today, costs a look only."""
    await memory.write([write(StateKey("default", "orders", f"{n:04}"), 0, b'{"total": 1}') for n in range(450)])
    await memory.write([write(StateKey("other", "orders", f"{n:04}"), 0, b'{"total": 1}') for n in range(30)])
    await memory.write([write(StateKey("default", "others", "1"), 0, b"{}")])
    async with managing(NEW) as manager:
        first = await manager.keeper.migrate("orders", "")
        assert (first.migrated, first.looked, bool(first.next_place)) == (200, 200, True)
        second = await manager.keeper.migrate("orders", first.next_place)
        assert second.migrated == 200
        assert await through(manager.keeper.migrate) == (480, 80, [])
        with pytest.raises(StylobateError) as refused:
            await manager.keeper.migrate("orders", "nonsense")
        assert refused.value.reason == "INVALID_INPUT"
        with pytest.raises(StylobateError) as refused:
            await manager.keeper.migrate("nope", "")
        assert refused.value.reason == "STATE_NAMESPACE_UNKNOWN"
    assert {state.schema_version for key, state in memory.objects.items() if key.namespace == "orders"} == {2}


async def test_nothing_that_happens_meanwhile_is_lost(managing, module, memory):
    """An object that is changed between the look and the move is looked at again: its newest data is what is moved, or left."""
    await kept(managing, a=1, b=2, c=3)
    async with managing(OLD) as old, managing(NEW) as manager:
        ask = module.ask

        async def slow(request):
            if len(module.calls) == 0:
                await old.change(HANDLER, "orders", "a", Patch(b'{"total": 10}'), expected=None)
                await old.change(HANDLER, "orders", "b", Put(b'{"total": 20}'), expected=None)
                await memory.write([deletion(StateKey("default", "orders", "c"))])
            return await ask(request)

        manager.keeper._environment.upgrades._ask_module = slow
        assert await through(manager.keeper.migrate) == (3, 2, [])
        assert [(await data_of(manager, key))["total"] for key in "ab"] == [10, 20]
        assert [memory.objects[key].version for key in (A, B)] == [3, 3]
        assert memory.objects[StateKey("default", "orders", "c")].is_deleted


async def test_what_is_not_as_declared_is_found(managing, memory):
    """Data of today that the schema refuses, statuses of before, and what a newer release wrote; deleted objects are none."""
    await memory.write([
        write(StateKey("default", "orders", "data"), 0, b'{"total": "x"}', status="paid", schema_version=2),
        write(StateKey("default", "orders", "fine"), 0, b'{"total": 1, "currency": "EUR"}', status="paid", schema_version=2),
        write(StateKey("default", "orders", "gone"), 0, b"{}", status="lost"),
        write(StateKey("default", "orders", "newer"), 0, b"{}", status="paid", schema_version=3),
        write(StateKey("default", "orders", "status"), 0, b'{"total": 1}', status="lost"),
    ])  # fmt: skip
    await memory.write([deletion(StateKey("default", "orders", "gone"))])
    async with managing(NEW) as manager:
        _, _, found = await through(manager.keeper.check)
    assert [(key, schema) for key, _, schema, _ in found] == [("data", 2), ("newer", 3), ("status", 1)]
    assert found[0][3] == '/currency: is missing; /total: the value is not of type "integer"'
    assert "newer" in found[1][3]
    assert found[2][3] == "its status `lost` is not one of this namespace"
