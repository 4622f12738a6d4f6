"""Ephemeral namespaces through the manager, over memory and over Valkey: what goes with time, and what there is not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.clients.bans import BanList
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.errors import StylobateError, UnauthenticatedError
from stylobate.idempotency import Idempotency, IdempotencyKeyReusedError
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.rpc.call import Call, current_call
from stylobate.testing import FakeClock
from stylobate_state.errors import StateEphemeralError, StateQueryNotIndexedError
from stylobate_state.filters import Filter
from stylobate_state.history_reader import Moment
from stylobate_state.model import ListQuery, StateKey, Write, Written
from stylobate_state.operation import Assign, Delete, Patch, Put, Restore, Transition
from stylobate_state.servicer import StateServicer
from stylobate_state.settings import StateSettings
from stylobate_state.state_lister import ListRequest
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_ephemeral import MemoryEphemeralStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.redis import RedisAnswers, RedisStateStore
from stylobate_state.store.router import StoreRouter
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .ephemeral import CARTS, PADS, SPACE, TTL
from .samples import ADA, ANONYMOUS, BOB, HANDLER, NOTES, write


@dataclass
class Place:
    """A manager with a durable namespace and two ephemeral ones, on one kind of store."""

    manager: StateManager
    servicer: StateServicer
    pads: StateStore
    expire: Callable[[str, str], Awaitable[None]]
    """Let the time of an owner's pad run out."""


@pytest.fixture(params=["memory", "valkey"])
async def place(
    request: pytest.FixtureRequest, environment: Environment, watches: WatchManager, memory: MemoryStateStore, clock: FakeClock
) -> AsyncIterator[Place]:
    """Give the place on each kind of store in turn."""
    ledgers: dict[str, Any]
    stores: dict[str, StateStore]
    if request.param == "memory":
        ledgers = {name: MemoryIdempotencyLedger() for name in ("carts", "pads")}
        stores = {name: MemoryEphemeralStore(clock, TTL, ledger) for name, ledger in ledgers.items()}
    else:
        redis = request.getfixturevalue("valkey")
        ledgers = {name: RedisAnswers(redis, name) for name in ("carts", "pads")}
        stores = {name: RedisStateStore(redis, name, TTL) for name in ledgers}

    async def expire(key: str, owner: str) -> None:
        """On the server's clock: as it is when the time is over, the object gone and its place in the sets overdue."""
        if request.param == "memory":
            store: Any = stores["pads"]
            at = StateKey("default", "pads", key)
            store.objects[at] = replace(store.objects[at], updated_at=clock() - 2 * TTL)
        else:
            assert await redis.call("DEL", f"{SPACE}o:{key}") == 1
            assert await redis.call("ZADD", f"{SPACE}due", "XX", "CH", 1, f"{owner}\0{key}") == 1

    declared = {one.name: one for one in (CARTS, PADS, NOTES)}
    apart = {name: Idempotency(ledger, clock) for name, ledger in ledgers.items()}
    routed = replace(environment, store=StoreRouter(memory, stores))
    async with StateManager.open(declared, routed, max_data_bytes=10_000) as manager:
        servicer = StateServicer(manager, watches, Idempotency(MemoryIdempotencyLedger(), clock), apart)
        yield Place(manager, servicer, stores["pads"], expire)


@pytest.fixture
def valkey(request: pytest.FixtureRequest) -> Any:
    """Give the emptied Valkey, where a test of it runs."""
    return request.getfixturevalue("redis")


@pytest.fixture(autouse=True)
def _server(request: pytest.FixtureRequest) -> None:
    """Open Valkey before the loop runs: an asynchronous fixture cannot ask for another."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("place") == "valkey":
        request.getfixturevalue("valkey")


async def put(place: Place, key: str, data: bytes = b"{}", *, caller=ADA, expected: int | None = None):
    """Put a pad."""
    return await place.manager.change(caller, "pads", key, Put(data), expected=expected)


async def test_machine_access_and_schema_hold_as_elsewhere(place: Place) -> None:
    """The same object goes the same way: created by a handler, moved by its owner, hidden from others, refused by the schema."""
    manager = place.manager
    made = await manager.change(HANDLER, "carts", "1", Put(b'{"total": 5}'), expected=0)
    assert (made.status, made.owner, made.data) == ("pending", "ada", b'{"total": 5}')
    paid = await manager.change(ADA, "carts", "1", Transition("pay", b'{"paid_by": "card"}'), expected=made.version)
    assert (paid.status, paid.version, paid.data) == (
        "paid",
        made.version + 1,
        b'{"total": 5, "paid_by": "card"}',
    )
    assert await manager.get(ADA, [("carts", "1")]) == [paid]
    for refused in (
        manager.change(ADA, "carts", "1", Transition("pay"), expected=None),
        manager.change(HANDLER, "carts", "1", Put(b'{"total": 0}'), expected=None),
        manager.change(ADA, "carts", "1", Transition("ship"), expected=None),
    ):
        with pytest.raises(StylobateError, match=r"not allowed while|not valid|may not fire"):
            await refused
    with pytest.raises(StateNotFoundError):
        await manager.change(BOB, "carts", "1", Transition("pay"), expected=None)
    with pytest.raises(StateVersionConflictError):
        await manager.change(ADA, "carts", "1", Transition("cancel"), expected=made.version)
    assert await manager.get(BOB, [("carts", "1")]) == []


async def test_an_object_goes_when_nobody_changes_it(place: Place, clock: FakeClock) -> None:
    """Read or listed it does not live longer; what was is told to nobody, and what comes after it is a new object."""
    first = await put(place, "a", b'{"n": 1}')
    changed = await put(place, "a", b'{"n": 2}')
    assert changed.first_version == first.version
    await put(place, "b")
    await place.expire("a", "ada")
    assert [state.key.key for state in await place.manager.get(ADA, [("pads", "a"), ("pads", "b")])] == ["b"]
    assert [state.key.key for state in (await place.manager.list_states(ADA, "pads")).items] == ["b"]
    with pytest.raises(StateNotFoundError):
        await place.manager.change(ADA, "pads", "a", Patch(b"{}"), expected=None)
    for version in (first.version, changed.version):
        with pytest.raises(StateVersionConflictError):
            await put(place, "a", expected=version)
    again = await put(place, "a", caller=BOB, expected=0)
    assert again.version > changed.version
    assert (again.first_version, again.owner) == (again.version, "bob")
    for version in (first.version, changed.version):
        with pytest.raises(StateVersionConflictError):
            await put(place, "a", caller=BOB, expected=version)


async def test_versions_go_on_above_all_that_there_were(place: Place) -> None:
    """A key that changed more often than time went by, and went, begins above its old versions."""
    at = StateKey("default", "pads", "a")
    highest = (await place.pads.write([write(at, 0)]))[0].version
    for _ in range(5):
        highest = (await place.pads.write([write(at, highest)]))[0].version
    if isinstance(place.pads, MemoryEphemeralStore):  # whose clock stands; Valkey's is another test's matter
        await place.expire("a", "ada")
        assert (await place.pads.write([write(at, 0)]))[0].version == highest + 1


async def test_pages_are_full_and_counts_exact_while_objects_go(place: Place) -> None:
    """Half of the objects went and nobody has swept up yet: each page holds what it may, also of one's own objects."""
    for number in range(30):
        await put(place, f"{number:02}", caller=BOB if number % 3 else ADA)
    for number in range(0, 30, 2):
        await place.expire(f"{number:02}", "bob" if number % 3 else "ada")
    await put(place, "04", caller=ADA)  # it was Bob's
    listing = ListRequest(size=6, count_up_to=100)
    shown, counts = [], set()
    while True:
        page = await place.manager.list_states(ADA, "pads", listing)
        shown.append([int(state.key.key) for state in page.items])
        counts.add(page.count)
        if not page.next_token:
            break
        listing = replace(listing, token=page.next_token)
    assert shown == [[1, 3, 4, 5, 7, 9], [11, 13, 15, 17, 19, 21], [23, 25, 27, 29]]
    assert counts == {16}
    for caller, keys in ((ADA, ["03", "04", "09", "15", "21", "27"]), (BOB, None)):
        own = ListRequest(filters=[Filter("owner", "eq", (caller.id,))], count_up_to=100)
        page = await place.manager.list_states(ADA, "pads", own)
        found = [state.key.key for state in page.items]
        assert page.count == len(found) == (len(keys) if keys else 10)
        assert keys is None or found == keys


async def test_what_there_is_not_is_refused_by_name(place: Place) -> None:
    """History, filters, sorts, lists by status and watches; access is decided before."""
    manager = place.manager
    await manager.change(HANDLER, "carts", "1", Put(b'{"total": 5}'), expected=0)
    with pytest.raises(StateEphemeralError, match="carts is ephemeral: it has no history"):
        await manager.list_history(ADA, "carts", "1")
    with pytest.raises(StateEphemeralError, match="carts is ephemeral: it has no history"):
        await manager.version(ADA, "carts", "1", Moment(7))
    with pytest.raises(StateEphemeralError, match="carts is ephemeral: it has no history"):
        await manager.change(HANDLER, "carts", "1", Restore(7), expected=None)
    with pytest.raises(StateEphemeralError, match="carts is ephemeral: it has no hand-overs"):
        await manager.change(ADA, "carts", "1", Assign("bob"), expected=None)
    for hidden in (
        manager.list_history(BOB, "carts", "1"),
        manager.change(BOB, "carts", "1", Assign("bob"), expected=None),
    ):
        with pytest.raises(StateNotFoundError):
            await hidden
    with pytest.raises(UnauthenticatedError):
        await manager.list_history(ANONYMOUS, "carts", "1")
    for request, place_of in (
        (ListRequest(status="paid"), "/status"),
        (ListRequest(filters=[Filter("status", "eq", ("paid",))]), "/filter/status"),
        (ListRequest(sort="status"), "/sort"),
    ):
        with pytest.raises(StylobateError) as refused:
            await manager.list_states(ADA, "carts", request)
        assert refused.value.http_status == 422
        assert refused.value.violations[0].pointer.startswith(place_of)
    with pytest.raises(StateQueryNotIndexedError):
        await manager.list_states(ADA, "carts", ListRequest(status="paid"))


async def test_watches_are_refused_not_silent(place: Place, environment: Environment, log: Any) -> None:
    """Who may see an object hears that nothing is told of it; who may not, what it always hears."""
    store = place.manager._store
    watching = WatchEnvironment(log, Feed(log), store, environment.access, BanList(), lambda _: False, lambda: 0.0)
    async with WatchManager.open(place.manager.namespaces, watching, StateSettings()) as watches:
        for key in ("1", ""):
            with pytest.raises(StateEphemeralError, match="pads is ephemeral: it has no watches"):
                await anext(watches.watch(ADA, "192.0.2.1", "pads", key))
            with pytest.raises(UnauthenticatedError):
                await anext(watches.watch(ANONYMOUS, "192.0.2.1", "pads", key))


async def test_a_transaction_stays_within_an_ephemeral_namespace(place: Place) -> None:
    """Objects of one change together or not at all; of an operation beside them that is of another, the number is named."""
    first, second = await place.manager.transact(ADA, [Asked("pads", "a", Put(b"1")), Asked("pads", "b", Put(b"2"))])
    stale = [Asked("pads", "a", Delete()), Asked("pads", "b", Patch(b"{}"), second.version + 5)]
    with pytest.raises(StateVersionConflictError) as refused:
        await place.manager.transact(ADA, stale)
    assert refused.value.metadata["index"] == "1"
    for operations, index, said in (
        (
            [Asked("pads", "a", Delete()), Asked("notes", "n", Put(b"1"))],
            "1",
            "pads is ephemeral: it has no transactions with notes",
        ),
        ([Asked("notes", "n", Put(b"1")), Asked("notes", "m", Put(b"1")), Asked("pads", "a", Delete())], "2", "pads is eph"),
        (
            [Asked("pads", "a", Delete()), Asked("carts", "1", Delete())],
            "1",
            "pads is ephemeral: it has no transactions with carts",
        ),
    ):
        with pytest.raises(StateEphemeralError, match=said) as mixed:
            await place.manager.transact(ADA, operations)
        assert (mixed.value.metadata["index"], mixed.value.http_status) == (index, 422)
    assert [state.version for state in await place.manager.get(ADA, [("pads", "a"), ("pads", "b"), ("notes", "n")])] == [
        first.version, second.version,
    ]  # fmt: skip


async def test_a_change_with_a_key_happens_once(place: Place) -> None:
    """Sent again it is answered the same and changes nothing, alone, deleted or in a transaction; another request is refused."""
    current_call.set(Call(principal=ADA))
    at = {"namespace": "pads", "key": "n"}
    operations = [pb.StateOperation(namespace="pads", key=key, put=pb.PutOperation(data=b"1")) for key in "xy"]
    calls: list[tuple[str, Any]] = [
        ("PutState", pb.PutStateRequest(**at, data=b'{"text": "first"}', idempotency_key="k")),
        ("PatchState", pb.PatchStateRequest(**at, patch=b'{"more": 1}', idempotency_key="k")),
        ("DeleteState", pb.DeleteStateRequest(**at, idempotency_key="k")),
        ("TransactStates", pb.TransactStatesRequest(operations=operations, idempotency_key="both")),
    ]
    for method, request in calls:
        first, again = [await getattr(place.servicer, method)(request, None) for _ in range(2)]
        assert (first.replayed, again.replayed) == (False, True)
        again.replayed = False
        assert first == again
    with pytest.raises(IdempotencyKeyReusedError):
        await place.servicer.PutState(pb.PutStateRequest(**at, data=b"{}", idempotency_key="k"), None)
    other = pb.TransactStatesRequest(operations=operations[:1], idempotency_key="both")
    with pytest.raises(IdempotencyKeyReusedError):
        await place.servicer.TransactStates(other, None)


async def test_fields_are_hidden_as_elsewhere(place: Place) -> None:
    """In reads, lists and the answer kept under an idempotency key; who does not see a field leaves it as it is."""
    whole = b'{"text": "hi", "secret": "s"}'
    await put(place, "f", whole)
    assert (await place.manager.get(ADA, [("pads", "f")]))[0].data == whole
    assert (await place.manager.get(BOB, [("pads", "f")]))[0].data == b'{"text":"hi"}'
    assert [state.data for state in (await place.manager.list_states(BOB, "pads")).items] == [b'{"text":"hi"}']
    await put(place, "f", b'{"text": "by bob"}', caller=BOB)
    kept = (await place.manager.get(ADA, [("pads", "f")]))[0].data
    assert json.loads(kept) == {"text": "by bob", "secret": "s"}
    current_call.set(Call(principal=BOB))
    request = pb.PatchStateRequest(namespace="pads", key="f", patch=b'{"text": "x"}', idempotency_key="k")
    for _ in range(2):
        assert b"secret" not in (await place.servicer.PatchState(request, None)).state.data


async def test_nobody_is_told_of_a_change(place: Place, commits: list[None], log: Any) -> None:
    """No event is written, and whoever carries events is left alone."""
    await put(place, "a")
    assert (commits, log.written) == ([], [])
    await place.manager.change(ADA, "notes", "a", Put(b"{}"), expected=0)
    assert (len(commits), len(log.written)) == (1, 1)


class StuckStore(MemoryStateStore):
    """A durable store that waits."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.may_go = asyncio.Event()

    async def write(self, writes: Any) -> Any:
        """Write when it may."""
        await self.may_go.wait()
        return await super().write(writes)


async def test_a_stuck_database_holds_up_nobody_here(environment: Environment, clock: FakeClock) -> None:
    """Writes to an ephemeral namespace leave while those to the database wait."""
    durable = StuckStore(clock)
    store = StoreRouter(durable, {"pads": MemoryEphemeralStore(clock, TTL)})
    manager_of = StateManager.open({"pads": PADS, "notes": NOTES}, replace(environment, store=store), max_data_bytes=10_000)
    async with manager_of as manager:
        stuck = [asyncio.create_task(manager.change(ADA, "notes", f"{n}", Put(b"1"), expected=0)) for n in range(3)]
        states = await asyncio.gather(*(manager.change(ADA, "pads", f"{n}", Put(b"1"), expected=0) for n in range(20)))
        assert len(states) == 20
        assert not any(task.done() for task in stuck)
        durable.may_go.set()
        await asyncio.gather(*stuck)


async def test_a_router_keeps_its_port(clock: FakeClock) -> None:
    """What is asked of several stores at once is answered in its order; a group of two stores is a defect."""
    durable, pads = MemoryStateStore(clock), MemoryEphemeralStore(clock, TTL)
    router = StoreRouter(durable, {"pads": pads})
    keys = [StateKey("default", name, str(n)) for n in range(4) for name in ("notes", "pads")]
    outcomes = await router.write([write(key, 0) for key in keys])
    assert [isinstance(outcome, Written) for outcome in outcomes] == [True] * 8
    assert [(await router.read(keys))[key].version for key in keys] == [outcome.version for outcome in outcomes]
    assert (len(durable.objects), len(pads.objects)) == (4, 4)
    group: list[Write] = [write(key, None, group=1) for key in keys[:2]]
    with pytest.raises(AssertionError, match="several stores"):
        await router.write(group)
    assert [len((await router.list_states(ListQuery("default", name, 10))).items) for name in ("notes", "pads")] == [4, 4]


async def test_what_expired_is_not_changed_as_it_was(place: Place) -> None:
    """A change begins with what was written last: where that is gone nothing is there, and what is made then is another."""
    pad = await put(place, "gone", b'{"n": 1}')
    await place.expire("gone", "ada")
    for expected in (None, pad.version):
        with pytest.raises(StateNotFoundError):
            await place.manager.change(ADA, "pads", "gone", Patch(b'{"m": 2}'), expected=expected)
    made = await put(place, "gone", b'{"k": 3}', caller=BOB)
    assert (made.owner, made.data, made.version > pad.version) == ("bob", b'{"k": 3}', True)
