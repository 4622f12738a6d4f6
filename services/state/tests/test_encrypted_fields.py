"""Fields that are stored encrypted: what is stored, what readers get, and what becomes of ciphertext that was tampered with."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
import pytest_asyncio
from stylobate.api.state.v1 import state_service_pb2 as pb
from stylobate.clients.bans import BanList
from stylobate.database import DatabaseManager
from stylobate.declarations.model import (
    AccessRule,
    BeforeHook,
    FieldDeclaration,
    NamespaceAccess,
    NamespaceDeclaration,
    TransitionDeclaration,
)
from stylobate.encryption import DataKeys, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate.idempotency import Idempotency, IdempotencyKeyReusedError, Keeping
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.outbox import EventLog, Position
from stylobate.outbox.memory import MemoryEventLog
from stylobate.rpc.call import Call, current_call
from stylobate.testing import FakeClock
from stylobate_state.errors import StateDataInvalidError, StateFieldUnreadableError, StateGuardFailedError
from stylobate_state.history_reader import Moment
from stylobate_state.model import StateKey
from stylobate_state.operation import Delete, Patch, Put, Restore, Transition
from stylobate_state.resealing import Resealing
from stylobate_state.sealing import Sealing, purpose_of
from stylobate_state.servicer import StateServicer
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import Asked, StateManager
from stylobate_state.state_porter import Carried
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.port import StateStore
from stylobate_state.upgrades import Upgrades
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Changed, Snapshot
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .conftest import Hooks, OpenKept
from .samples import ADA, BOB, fields

ANYONE = AccessRule(("public",))
PEOPLE = NamespaceDeclaration(
    name="people",
    module="desk",
    schema={
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "ssn": {"type": "string", "pattern": "^[0-9-]+$"},
            "bank": {"type": "object", "properties": {"iban": {"type": "string"}, "branch": {"type": "integer"}}},
        },
    },
    initial="open",
    statuses=("closed", "open"),
    access=NamespaceAccess(read=ANYONE, list=ANYONE, create=ANYONE, write=ANYONE, delete=ANYONE),
    transitions={
        "close": TransitionDeclaration("close", ("open",), "closed", ANYONE, fields("ssn")),
        "guess": TransitionDeclaration(
            "guess", ("open",), "closed", ANYONE, guard="data.all(name, name != 'x') && data['ssn'] != ''"
        ),
    },
    encrypted=("ssn", "bank.iban"),
    fields=(FieldDeclaration("bank", AccessRule(("people:bank", "owner"))),),
    event_data=("before", "delta"),
)
SSN, IBAN = "078-05-1120", "DE75512108001245126199"
DATA = {"name": "Ada", "ssn": SSN, "bank": {"iban": IBAN, "branch": 7}}
SECRET = "s" * 40


@dataclass
class Place:
    """A state service on one store."""

    store: StateStore
    log: EventLog
    manager: StateManager
    watches: WatchManager
    servicer: StateServicer
    hooks: Hooks
    keys: DataKeys
    everything: Callable[[], Awaitable[str]]
    """Gives all that is kept, as text."""
    put_raw: Callable[[StateKey, bytes], Awaitable[None]]
    """Writes the data of an object from outside."""

    async def stored(self, key: str) -> dict[str, Any]:
        """Return the data of an object as it is stored."""
        at = StateKey("default", "people", key)
        found: dict[str, Any] = orjson.loads((await self.store.read([at]))[at].data)
        return found

    async def get(self, key: str) -> dict[str, Any]:
        """Return the data of an object as its owner reads it."""
        (state,) = await self.manager.get(ADA, [("people", key)])
        found: dict[str, Any] = orjson.loads(state.data)
        return found

    async def put(self, key: str, data: dict[str, Any]) -> None:
        """Write an object as Ada."""
        await self.manager.change(ADA, "people", key, Put(orjson.dumps(data)), expected=None)


@pytest_asyncio.fixture
async def place(
    open_kept_or_none: OpenKept | None, environment: Environment, hooks: Hooks, clock: FakeClock
) -> AsyncIterator[Place]:
    """Give a service on each store in turn."""
    if open_kept_or_none is None:
        events, ledger = MemoryEventLog("state", clock), MemoryIdempotencyLedger()
        store: Any = MemoryStateStore(clock, events, ledger)
        log: Any = events

        async def everything() -> str:
            answers = [answer.answer for answer, _ in ledger._rows.values()]
            page = await log.read(Position.origin())
            return repr((store.objects, store.history, page.events, answers))

        async def put_raw(key: StateKey, data: bytes) -> None:
            store.objects[key] = replace(store.objects[key], data=data)

    else:
        one = await open_kept_or_none()
        ledger, store, log = one.ledger, one.store, one.log

        async def everything() -> str:
            if isinstance(one.database, DatabaseManager):
                rows = [await one.database.fetch(f"select t::text from {table} t") for table in ("state", "outbox_event")]
                return repr((rows, await one.database.fetch("select encode(answer, 'escape') from idempotency")))
            return repr([await one.database.find(name, {}) for name in ("state", "outbox_event", "idempotency")])

        async def put_raw(key: StateKey, data: bytes) -> None:
            if isinstance(one.database, DatabaseManager):
                await one.database.execute("update state set data = $2::text::jsonb where key = $1", key.key, data.decode())
            else:
                await one.database.update_one("state", {"_id.key": key.key}, {"$set": {"data": data.decode()}})

    keys = DataKeys(MemoryDataKeyStore(), SecretKeyEncryption(SECRET, purpose="test"))
    environment = replace(environment, store=store, upgrades=Upgrades(sealing=Sealing(keys)))
    async with StateManager.open({"people": PEOPLE}, environment, max_data_bytes=10_000) as manager:
        feed = Feed(log)
        watching = WatchEnvironment(
            log, feed, store, environment.access, BanList(), lambda _principal: False, lambda: 0.0, upgrades=environment.upgrades
        )
        async with WatchManager.open(manager.namespaces, watching, StateSettings()) as watches:
            servicer = StateServicer(manager, watches, Idempotency(ledger, clock, keeping=Keeping.of(SECRET)))
            yield Place(store, log, manager, watches, servicer, hooks, keys, everything, put_raw)


async def test_what_is_kept_is_ciphertext_and_readers_get_plaintext(place: Place) -> None:
    """Rows, events, history and answers hold no value; every read door gives it to who may see it."""
    current_call.set(Call(principal=ADA))
    request = pb.PutStateRequest(namespace="people", key="1", data=orjson.dumps(DATA), idempotency_key="k")
    first = await place.servicer.PutState(request, None)  # type: ignore[arg-type]
    again = await place.servicer.PutState(request, None)  # type: ignore[arg-type]
    assert orjson.loads(first.state.data) == orjson.loads(again.state.data) == DATA
    assert again.replayed
    await place.manager.change(ADA, "people", "1", Patch(b'{"name": "Ada L."}'), expected=None)
    kept = await place.everything()
    assert "Ada L." in kept
    assert "sealed.1." in kept
    assert SSN not in kept
    assert IBAN not in kept
    wanted = DATA | {"name": "Ada L."}
    assert await place.get("1") == wanted
    (listed,) = (await place.manager.list_states(ADA, "people")).items
    assert orjson.loads(listed.data) == wanted
    entries = (await place.manager.list_history(ADA, "people", "1")).items
    assert [orjson.loads(entry.data) for entry in entries] == [wanted, DATA]
    assert orjson.loads((await place.manager.version(ADA, "people", "1", Moment(1))).data) == DATA
    (others,) = await place.manager.get(BOB, [("people", "1")])
    assert orjson.loads(others.data) == {"name": "Ada L.", "ssn": SSN}


async def test_a_request_is_kept_as_a_hash_that_nobody_can_try_values_against(place: Place) -> None:
    """Where fields are encrypted: with a secret, without which it is another request."""
    current_call.set(Call(principal=ADA))
    request = pb.PutStateRequest(namespace="people", key="1", data=orjson.dumps(DATA), idempotency_key="k")
    operation = pb.StateOperation(namespace="people", key="2", put=pb.PutOperation(data=orjson.dumps(DATA)))
    several = pb.TransactStatesRequest(operations=[operation], idempotency_key="k")
    await place.servicer.PutState(request, None)  # type: ignore[arg-type]
    await place.servicer.TransactStates(several, None)  # type: ignore[arg-type]
    place.servicer._idempotency.keeping = Keeping()
    with pytest.raises(IdempotencyKeyReusedError):
        await place.servicer.PutState(request, None)  # type: ignore[arg-type]
    with pytest.raises(IdempotencyKeyReusedError):
        await place.servicer.TransactStates(several, None)  # type: ignore[arg-type]


async def test_a_watch_tells_plaintext(place: Place) -> None:
    """Of the snapshot and of what happens."""
    if not isinstance(place.log, MemoryEventLog):
        pytest.skip("numbers need a relay there; the log is read in the same way")
    await place.put("1", DATA)
    place.log.number_now()
    async with aclosing(place.watches.watch(ADA, "", "people", "1")) as telling:
        position, told = await anext(telling)
    assert isinstance(told, Snapshot)
    assert orjson.loads(told.states[0].data) == DATA
    await place.put("1", DATA | {"ssn": "1-2"})
    place.log.number_now()
    async with aclosing(place.watches.watch(ADA, "", "people", "1", position=position)) as telling:
        while not isinstance(told, Changed):
            _, told = await anext(telling)
    assert told.entry is not None
    assert orjson.loads(told.entry.data) == DATA | {"ssn": "1-2"}


async def test_changes_build_on_plaintext(place: Place) -> None:
    """Patches and events merge into it, schemas are held against it, restoring brings it back; before-hooks see it."""
    await place.put("1", DATA)
    with pytest.raises(StateDataInvalidError, match="ssn"):
        await place.manager.change(ADA, "people", "1", Patch(b'{"ssn": "letters"}'), expected=None)
    await place.manager.change(ADA, "people", "1", Patch(b'{"bank": {"branch": 8}}'), expected=None)
    await place.manager.change(ADA, "people", "1", Transition("close", b'{"ssn": "1-1"}'), expected=None)
    assert await place.get("1") == {"name": "Ada", "ssn": "1-1", "bank": {"iban": IBAN, "branch": 8}}
    await place.manager.change(ADA, "people", "1", Restore(1), expected=None)
    assert await place.get("1") == DATA
    await place.manager.change(ADA, "people", "1", Patch(b'{"ssn": null}'), expected=None)
    assert "ssn" not in await place.stored("1")


async def test_what_stays_the_same_keeps_its_ciphertext(place: Place) -> None:
    """So the delta of an event tells of no field that did not change."""
    await place.put("1", DATA)
    before = await place.stored("1")
    await place.put("1", DATA | {"name": "Grace"})
    after = await place.stored("1")
    assert after["ssn"] == before["ssn"]
    assert after["bank"] == before["bank"]


async def test_before_hooks_see_plaintext_and_what_they_give_is_sealed(place: Place, environment: Environment) -> None:
    """They refuse and change as for any field."""

    async def other(_hook: BeforeHook, _event: Any) -> bytes:
        return orjson.dumps(DATA | {"ssn": "2-2"})

    declared = {"people": replace(PEOPLE, before={"created": BeforeHook("desk", "check")})}
    environment = replace(environment, store=place.store, upgrades=Upgrades(sealing=Sealing(place.keys)))
    place.hooks.answer = other
    async with StateManager.open(declared, environment, max_data_bytes=10_000) as manager:
        await manager.change(ADA, "people", "h", Put(orjson.dumps(DATA)), expected=None)
    ((_, event),) = place.hooks.asked
    assert event.value()["data"] == DATA
    assert (await place.get("h"))["ssn"] == "2-2"
    assert "2-2" not in await place.everything()


async def test_a_transaction_seals_each_for_its_own_place(place: Place) -> None:
    """Two objects with one value have nothing in common in the store."""
    operations = [Asked("people", key, Put(orjson.dumps(DATA))) for key in ("1", "2")]
    await place.manager.transact(ADA, operations)
    one, other = await place.stored("1"), await place.stored("2")
    assert one["ssn"] != other["ssn"]
    assert await place.get("1") == await place.get("2") == DATA


@pytest.mark.not_sharded
async def test_swapped_and_altered_ciphertext_is_refused_and_harms_no_other(place: Place) -> None:
    """Whoever writes into the database moves no value from row to row, nor from field to field."""
    for key in ("1", "2", "3"):
        await place.put(key, DATA | {"ssn": f"{key}-{key}"})
    one, two = await place.stored("1"), await place.stored("2")
    await place.put_raw(StateKey("default", "people", "1"), orjson.dumps(one | {"ssn": two["ssn"]}))
    flipped = two["ssn"][:-2] + ("AA" if two["ssn"][-2:] != "AA" else "BB")
    await place.put_raw(StateKey("default", "people", "2"), orjson.dumps(two | {"ssn": flipped}))
    for key in ("1", "2"):
        with pytest.raises(StateFieldUnreadableError, match="/ssn") as refused:
            await place.get(key)
        assert refused.value.metadata["key"] == key
        for operation in (Patch(b'{"name": "x"}'), Transition("close", b"")):
            with pytest.raises(StateFieldUnreadableError):
                await place.manager.change(ADA, "people", key, operation, expected=None)
    assert (await place.get("3"))["ssn"] == "3-3"
    listed = (await place.manager.list_states(ADA, "people")).items
    assert [orjson.loads(state.data).get("ssn") for state in listed] == [None, None, "3-3"]
    swapped = {**await place.stored("3"), "name": (await place.stored("3"))["ssn"]}
    await place.put_raw(StateKey("default", "people", "3"), orjson.dumps(swapped))
    assert (await place.get("3"))["name"].startswith("sealed.1."), "what stands in another field opens nothing"
    await place.put("1", DATA)
    assert await place.get("1") == DATA, "it can be replaced"
    await place.manager.change(ADA, "people", "2", Delete(), expected=None)


async def test_what_was_cut_off_stops_nothing_that_is_encrypted_anew(place: Place) -> None:
    """It is named, and stays; the others of the same object are sealed with the newest key."""
    await place.put("1", DATA)
    stored = await place.stored("1")
    key, people, sealing = StateKey("default", "people", "1"), place.manager.namespaces["people"], Resealing(Sealing(place.keys))
    await place.keys.rotate(purpose_of("people"))
    for cut in ("sealed.1.", "sealed.1.ab", stored["ssn"][:24]):
        data, unreadable = await sealing.anew(people, key, orjson.dumps(stored | {"ssn": cut}), owner="")
        assert unreadable == [("ssn",)]
        found = orjson.loads(data)
        assert found["ssn"] == cut
        assert found["bank"]["iban"] not in {IBAN, stored["bank"]["iban"]}


async def test_text_that_looks_sealed_is_text(place: Place) -> None:
    """A caller who writes the ciphertext of a value does not get to read it."""
    await place.put("1", DATA)
    stolen = (await place.stored("1"))["bank"]["iban"]
    await place.put("2", {"bank": {"iban": stolen}})
    assert (await place.get("2"))["bank"]["iban"] == stolen


@pytest.mark.not_sharded
async def test_what_was_stored_before_is_read_and_sealed_when_it_is_written(place: Place) -> None:
    """A namespace may say later that a field is encrypted."""
    await place.put("1", DATA)
    await place.put_raw(StateKey("default", "people", "1"), orjson.dumps(DATA))
    assert await place.get("1") == DATA
    await place.manager.change(ADA, "people", "1", Patch(b'{"name": "x"}'), expected=None)
    assert (await place.stored("1"))["ssn"].startswith("sealed.1.")


async def test_a_guard_does_not_see_it(place: Place) -> None:
    """Not even one that asks in a way that the loader does not see through."""
    await place.put("1", DATA)
    with pytest.raises(StateGuardFailedError, match="ssn"):
        await place.manager.change(ADA, "people", "1", Transition("guess", b""), expected=None)


async def test_export_gives_plaintext_and_import_seals(place: Place) -> None:
    """So objects move to a place with other keys; what is the same there is passed over."""
    await place.put("1", DATA)
    namespace, porter = place.manager.namespaces["people"], place.manager.keeper.porter
    given, _ = await porter.give(namespace, None)
    assert orjson.loads(given[0].data) == DATA
    carried = [Carried("default", key, given[0].data, "open", given[0].owner) for key in ("1", "9")]
    imported = await porter.take(namespace, carried, replaces=False)
    assert (imported.written, imported.unchanged) == (1, 1)
    assert await place.get("9") == DATA
    assert SSN not in await place.everything()


async def test_numbers_and_objects_come_back_as_they_were(place: Place) -> None:
    """Whatever JSON a field holds."""
    whole = {"iban": {"deep": [1, 2.50, "ä\n", None, True]}}
    async with StateManager.open(
        {"people": replace(PEOPLE, schema=None)},
        replace(place.manager.keeper._environment),
        max_data_bytes=10_000,
    ) as manager:
        await manager.change(ADA, "people", "n", Put(orjson.dumps({"ssn": 123456789012345678, "bank": whole})), expected=None)
        (state,) = await manager.get(ADA, [("people", "n")])
        assert b"123456789012345678" in state.data
        assert orjson.loads(state.data)["bank"] == whole
        await manager.change(ADA, "people", "n", Put(orjson.dumps({"bank": "no object"})), expected=None)
        assert "no object" not in await place.everything()
        (state,) = await manager.get(ADA, [("people", "n")])
        assert orjson.loads(state.data) == {"bank": "no object"}
