"""The object as it was, and older versions brought back: by whom, into what, and what is told of it."""

import json
from datetime import timedelta

import pytest
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.errors import InvalidInputError, PermissionDeniedError, UnauthenticatedError
from stylobate_state.errors import StateDataInvalidError, StateVersionDeletedError, StateVersionNotFoundError
from stylobate_state.history_reader import HistoryRequest, Moment
from stylobate_state.model import Change, HistoryQuery, Refused, StateKey, TimerStart
from stylobate_state.operation import Delete, Patch, Put, Restore, Transition
from stylobate_state.state_manager import Asked

from .samples import ADA, ANONYMOUS, BOB, HANDLER, deletion, write

A = StateKey("default", "orders", "a")
TEN = timedelta(seconds=10)


async def test_a_store_brings_data_back(store):
    """An older version's data becomes a new version, an update that says which it was; status, timers and times go on."""
    start = TimerStart("cancel", timedelta(hours=1))
    (first,) = await store.write([write(A, 0, b"[1]", status="pending", timers=(start,))])
    await store.write([write(A, 1, b"[2]")])
    (third,) = await store.write([write(A, 2, b"[1]", restored_from=1)])
    state = (await store.read([A]))[A]
    assert (third.version, state.data, state.status, state.timers) == (3, b"[1]", "pending", first.timers)
    assert (state.created_at, state.first_version) == (first.created_at, 1)
    entries = (await store.list_history(HistoryQuery(A, 10))).items
    assert [(entry.version, entry.change, entry.restored_from) for entry in entries] == [
        (3, Change.UPDATED, 1),
        (2, Change.UPDATED, 0),
        (1, Change.CREATED, 0),
    ]


async def test_a_store_undoes_a_deletion(store):
    """The object goes on as it was: owner, first version and creation stay, its timers begin anew; it is found again."""
    start = TimerStart("cancel", timedelta(hours=1))
    await store.write([write(A, 0, b"[0]"), write(A._replace(key="b"), 0)])
    await store.write([deletion(A)])
    (second,) = await store.write([write(A, 0, b"[1]", owner="bob", actor="bob", status="pending")])
    await store.write([deletion(A, 3, owner="bob")])
    other = write(A, 0, b"[1]", owner="eve", actor="root", status="pending", restored_from=3)
    assert await store.write([other]) == [Refused(0)]
    undone = write(A, 0, b"[1]", owner="bob", actor="root", status="pending", restored_from=3, timers=(start,))
    (back,) = await store.write([undone])
    state = (await store.read([A]))[A]
    assert (back.version, state.owner, state.first_version, state.is_deleted) == (5, "bob", 3, False)
    assert (state.created_at, [timer.since for timer in state.timers]) == (second.created_at, [5])
    assert await store.owner_before(A, 6) == "bob"
    assert await store.write([undone]) == [Refused(5)]


async def fill(manager, clock, grants, *totals):
    """Write an order of Ada's, ten seconds apart."""
    grants.by_subject["root"] = {"orders:admin"}
    for index, total in enumerate(totals):
        await manager.change(HANDLER, "orders", "1", Put(b'{"total": %d}' % total), expected=index)
        clock.advance(TEN)


async def seen(manager, moment, who=ADA):
    """Return version, status and total of the order as it was."""
    state = await manager.version(who, "orders", "1", moment)
    return state.version, state.status, json.loads(state.data)["total"]


async def test_the_object_as_it_was(manager, clock, grants):
    """At a version, or at a time: the newest made until then; with the times of then, and neither owner nor timers."""
    begun = clock()
    await fill(manager, clock, grants, 1, 2)
    await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    assert await seen(manager, Moment(1)) == (1, "pending", 1)
    assert await seen(manager, Moment(3)) == (3, "paid", 2)
    assert await seen(manager, Moment(as_of=begun.isoformat())) == (1, "pending", 1)
    assert await seen(manager, Moment(as_of=(begun + TEN * 1.9).isoformat())) == (2, "pending", 2)
    assert await seen(manager, Moment(as_of="9999-12-31T23:59:59.999999Z")) == (3, "paid", 2)
    then = await manager.version(ADA, "orders", "1", Moment(2))
    assert (then.created_at, then.updated_at, then.owner, then.timers) == (begun, begun + TEN, "", ())
    for moment in (Moment(4), Moment(2**63 - 1), Moment(as_of="2001-01-01T00:00:00Z")):
        with pytest.raises(StateVersionNotFoundError):
            await manager.version(ADA, "orders", "1", moment)
    for moment, place in (
        (Moment(), "/version"),
        (Moment(-1), "/version"),
        (Moment(1, begun.isoformat()), "/as_of"),
        (Moment(as_of="today"), "/as_of"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            await manager.version(ADA, "orders", "1", moment)
        assert refused.value.violations[0].pointer == place


async def test_looking_back_is_the_right_to_the_history(manager, clock, grants):
    """A stranger hears nothing, an owner nothing of the key's former owner; a deletion is told to who may look."""
    await fill(manager, clock, grants, 1)
    grants.by_subject["ada"] = {"orders:admin"}
    await manager.change(ADA, "orders", "1", Delete(), expected=None)
    with pytest.raises(StateVersionDeletedError):
        await manager.version(ADA, "orders", "1", Moment(2))
    assert await seen(manager, Moment(1)) == (1, "pending", 1)
    await manager.change(BOB.with_via("actions"), "orders", "1", Put(b'{"total": 3}'), expected=0)
    assert await seen(manager, Moment(3), BOB) == (3, "pending", 3)
    for moment in (Moment(1), Moment(2), Moment(as_of=(clock() - TEN).isoformat())):
        with pytest.raises(StateVersionNotFoundError):
            await manager.version(BOB, "orders", "1", moment)
        with pytest.raises(StateNotFoundError):
            await manager.version(ADA, "orders", "1", moment)
    grants.by_subject["root"] = {"orders:read"}
    root = BOB.__class__(kind=BOB.kind, id="root")
    assert await seen(manager, Moment(1), root) == (1, "pending", 1)


async def test_an_older_version_comes_back_as_a_new_one(manager, clock, grants, memory):
    """It takes `write`; the status stays, today's schema holds, and the version that was seen counts."""
    await fill(manager, clock, grants, 1, 2)
    await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    with pytest.raises(PermissionDeniedError):
        await manager.change(ADA, "orders", "1", Restore(1), expected=None)
    with pytest.raises(StateNotFoundError):
        await manager.change(BOB.with_via("actions"), "orders", "never", Restore(1), expected=None)
    with pytest.raises(StateVersionConflictError):
        await manager.change(HANDLER, "orders", "1", Restore(1), expected=2)
    back = await manager.change(HANDLER, "orders", "1", Restore(1), expected=3)
    assert (back.version, back.status, json.loads(back.data)) == (4, "paid", {"total": 1})
    entry = (await manager.list_history(ADA, "orders", "1", HistoryRequest(size=1))).items[0]
    assert (entry.change, entry.restored_from, entry.actor) == (Change.UPDATED, 1, ADA.subject)
    for version in (0, -1):
        with pytest.raises(InvalidInputError):
            await manager.change(HANDLER, "orders", "1", Restore(version), expected=None)
    with pytest.raises(StateVersionNotFoundError):
        await manager.change(HANDLER, "orders", "1", Restore(9), expected=None)
    await memory.write([write(StateKey("default", "orders", "1"), 4, b'{"total": 0}', owner=ADA.subject)])
    await memory.write([write(StateKey("default", "orders", "1"), 5, b'{"total": 5}', owner=ADA.subject)])
    with pytest.raises(StateDataInvalidError):
        await manager.change(HANDLER, "orders", "1", Restore(5), expected=None)
    assert (await manager.get(ADA, [("orders", "1")]))[0].version == 6


async def test_a_deletion_is_undone(manager, clock, grants, hooks):
    """Data, status and owner are there again, for who may create and write; a stranger hears that there is nothing."""
    await fill(manager, clock, grants, 1)
    await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    grants.by_subject["ada"] = {"orders:admin"}
    await manager.change(ADA, "orders", "1", Delete(), expected=None)
    with pytest.raises(PermissionDeniedError):
        await manager.change(ADA, "orders", "1", Restore(1), expected=None)
    with pytest.raises(StateVersionDeletedError):
        await manager.change(HANDLER, "orders", "1", Restore(3), expected=None)
    with pytest.raises(StateVersionConflictError):
        await manager.change(HANDLER, "orders", "1", Restore(1), expected=3)
    with pytest.raises(StateVersionNotFoundError):
        await manager.change(BOB.with_via("actions"), "orders", "1", Restore(9), expected=None)
    back = await manager.change(HANDLER, "orders", "1", Restore(2), expected=0)
    assert (back.version, back.status, back.owner, back.first_version) == (4, "paid", ADA.subject, 1)
    assert [entry.version for entry in (await manager.list_history(ADA, "orders", "1")).items] == [4, 3, 2, 1]
    assert (await manager.version(ADA, "orders", "1", Moment(4))).created_at == back.created_at
    with pytest.raises(StateVersionConflictError):
        await manager.change(HANDLER, "orders", "1", Restore(2), expected=0)


async def test_a_note_is_undeleted_by_its_own_rules_only(manager):
    """Where everybody known may write, everybody known may undo; nobody else is told whether there is anything to undo."""
    await manager.change(ADA, "notes", "n", Put(b"[1]"), expected=0)
    await manager.change(ADA, "notes", "n", Delete(), expected=None)
    for key in ("n", "never"):
        with pytest.raises(UnauthenticatedError):
            await manager.change(ANONYMOUS, "notes", key, Restore(1), expected=None)
    back = await manager.change(BOB, "notes", "n", Restore(1), expected=None)
    assert (back.version, back.owner, back.data) == (3, ADA.subject, b"[1]")


async def test_restorations_are_part_of_transactions(manager, clock, grants):
    """One that is refused refuses all, and says which it is."""
    await manager.change(ADA, "notes", "a", Put(b"[1]"), expected=0)
    await manager.change(ADA, "notes", "a", Put(b"[2]"), expected=1)
    await manager.change(ADA, "notes", "b", Put(b"[1]"), expected=0)
    await manager.change(ADA, "notes", "b", Delete(), expected=None)
    with pytest.raises(StateVersionDeletedError) as refused:
        await manager.transact(ADA, [Asked("notes", "a", Restore(1)), Asked("notes", "b", Restore(2))])
    assert refused.value.metadata["index"] == "1"
    done = await manager.transact(ADA, [Asked("notes", "a", Restore(1)), Asked("notes", "b", Restore(1))])
    assert [(state.version, state.data) for state in done] == [(3, b"[1]"), (3, b"[1]")]


async def test_a_lost_race_is_made_anew(manager, memory):
    """Between the read and the write somebody else creates the object: the deletion is not there any more to be undone."""
    key = StateKey("default", "notes", "n")
    await manager.change(ADA, "notes", "n", Put(b"[1]"), expected=0)
    await manager.change(ADA, "notes", "n", Delete(), expected=None)
    real = memory.list_history

    async def overtaken(query):
        memory.list_history = real
        await memory.write([write(key, 0, b"[9]", owner="eve", actor="eve")])
        return await real(query)

    memory.list_history = overtaken
    back = await manager.change(BOB, "notes", "n", Restore(1), expected=None)
    assert (back.version, back.owner, back.data) == (4, "eve", b"[1]")
    await manager.change(BOB, "notes", "n", Patch(b"[3]"), expected=4)
