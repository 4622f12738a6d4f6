"""Objects given out and taken in: what an export gives, an import makes, once and by the rules of the namespace."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate.declarations.model import IndexDeclaration, IndexField, TimerDeclaration
from stylobate.errors import StylobateError
from stylobate_state.index import all_indexes
from stylobate_state.model import Change, StateKey
from stylobate_state.operation import Put, Transition
from stylobate_state.state_manager import StateManager
from stylobate_state.state_porter import Carried
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.upgrades import Upgrades

from .samples import ADA, HANDLER, ORDERS
from .test_schema_versions import NEW, Module

NAMED = replace(
    ORDERS,
    indexes=(IndexDeclaration((IndexField("total", "number"),), is_unique=True),),
    timers=(TimerDeclaration("pending", timedelta(minutes=15), "cancel"),),
)


@pytest.fixture
def opening(environment, clock):
    """Give what opens a manager on an empty store of its own."""

    @asynccontextmanager
    async def run(declaration=NAMED):
        store = MemoryStateStore(clock)
        await store.declare(all_indexes({"orders": declaration}))
        upgrades = Upgrades(Module().ask)
        own = replace(environment, store=store, upgrades=upgrades)
        async with StateManager.open({"orders": declaration}, own, max_data_bytes=1000) as manager:
            yield manager

    return run


async def given(manager):
    """Return all that the manager's store gives out."""
    found, place = [], None
    while True:
        states, place = await manager.keeper.porter.give(manager.namespaces["orders"], place)
        found += [Carried(one.key.tenant, one.key.key, one.data, one.status, one.owner, one.schema_version) for one in states]
        if place is None:
            return found


async def taken(manager, *carried, replaces=False):
    """Import; return how many were written, how many were there, and the refusals."""
    done = await manager.keeper.porter.take(manager.namespaces["orders"], carried, replaces=replaces)
    return done.written, done.unchanged, [(one.index, one.error.reason, one.error.detail) for one in done.refusals]


def line(key, total, **more):
    """Return an object of an import."""
    return Carried(**{"tenant": "default", "key": key, "data": json.dumps({"total": total}).encode()} | more)


async def test_what_is_given_out_is_taken_in_as_it_was(opening):
    """Key, data, status and owner are carried, of all tenants, deleted objects not; taken in again nothing happens."""
    async with opening() as source, opening() as target:
        for number in range(1, 61):
            await source.change(HANDLER, "orders", f"{number:02}", Put(json.dumps({"total": number}).encode()), expected=0)
        await source.change(ADA, "orders", "07", Transition("pay"), expected=None)
        await source.change(replace(HANDLER, tenant="other"), "orders", "x", Put(b'{"total": 1}'), expected=0)
        everything = await given(source)
        assert len(everything) == 61
        for _ in range(2):
            done = [await taken(target, *everything[start : start + 50]) for start in (0, 50)]
        assert [one[1] for one in done] == [50, 11]
        assert await given(target) == everything
        (paid,) = await target.get(ADA, [("orders", "07")])
        assert (paid.status, paid.owner, paid.version) == ("paid", "ada", 1)
        (entry,) = (await target.list_history(ADA, "orders", "07")).items
        assert (entry.change, entry.actor, entry.to_status) == (Change.CREATED, "service:state", "paid")
        (pending,) = await target.get(ADA, [("orders", "08")])
        assert [timer.event for timer in pending.timers] == ["cancel"]


async def test_each_line_is_refused_by_itself(opening):
    """What is not as declared, or in the way, is named; the rest is written."""
    async with opening() as manager:
        written, unchanged, refusals = await taken(
            manager,
            line("a", 1),
            line("b", "x"),
            line("c", 3, status="lost"),
            line("d/e", 4),
            line("f", 1, tenant="other", owner="eve"),
            line("g", 1),
            line("h", 8, data=b"{"),
            line("i", 9, schema_version=2),
            line("j", 10, tenant=""),
            line("k", 11, status="paid"),
        )
        assert (written, unchanged) == (3, 0)
        assert [(index, reason) for index, reason, _ in refusals] == [
            (1, "STATE_DATA_INVALID"), (2, "INVALID_INPUT"), (3, "STATE_KEY_INVALID"), (5, "STATE_IMPORT_REFUSED"),
            (6, "STATE_DATA_INVALID"), (7, "STATE_SCHEMA_NEWER"), (8, "STATE_IMPORT_REFUSED"),
        ]  # fmt: skip
        assert "has values of a in the unique index (total)" in refusals[3][2]
        with pytest.raises(StylobateError) as refused:
            await taken(manager, *[line("z", 1)] * 51)
        assert refused.value.reason == "INVALID_INPUT"


async def test_what_is_there_is_replaced_only_when_asked_and_only_its_data(opening):
    """Another object at the key refuses the line; with replace its data is replaced for the version that was seen."""
    async with opening() as manager:
        await taken(manager, line("a", 1, owner="ada"))
        (refusal,) = (await taken(manager, line("a", 5, owner="ada")))[2]
        assert "is there already, at version 1, and is another" in refusal[2]
        for other in (line("a", 5, owner="bob"), line("a", 5, owner="ada", status="paid")):
            assert (await taken(manager, other, replaces=True))[2][0][1] == "STATE_IMPORT_REFUSED"
        assert (await taken(manager, line("a", 5, owner="ada"), replaces=True))[:2] == (1, 0)
        (state,) = await manager.get(ADA, [("orders", "a")])
        assert (state.version, json.loads(state.data), [timer.event for timer in state.timers]) == (2, {"total": 5}, ["cancel"])


async def test_older_data_is_upgraded_on_its_way_in(opening):
    """An export of the release before is taken in as data of today; what cannot be upgraded is refused."""
    async with opening(NEW) as manager:
        written, _, refusals = await taken(manager, line("a", 1, schema_version=1, owner="ada"), line("b", 13, schema_version=1))
        assert (written, [reason for _, reason, _ in refusals]) == (1, ["STATE_UPGRADE_FAILED"])
        found = manager._store.objects[StateKey("default", "orders", "a")]
        assert (json.loads(found.data), found.schema_version) == ({"total": 1, "currency": "EUR"}, 2)
