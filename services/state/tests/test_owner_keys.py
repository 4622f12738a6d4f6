"""`encryption: per_owner`: what is an owner's has a key of its own, which goes with the account, over memory and PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio
from stylobate.database import DatabaseManager
from stylobate.declarations.model import AccessRule, NamespaceAccess
from stylobate.encryption import DataKeys, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate_state.errors import StateFieldForgottenError
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.history_reader import Moment
from stylobate_state.model import HistoryQuery, StateKey
from stylobate_state.operation import Assign, Patch, Put, Restore
from stylobate_state.owner_forgetter import OwnerForgetter
from stylobate_state.owner_keys import OwnerKeys
from stylobate_state.reencryptor import Reencryptor
from stylobate_state.sealing import Sealing, purpose_of
from stylobate_state.state_manager import StateManager
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.memory_forgetting import MemoryForgettingStore
from stylobate_state.store.memory_owner_keys import MemoryOwnerKeyStore
from stylobate_state.store.mongodb.owner_keys import MongoOwnerKeyStore
from stylobate_state.store.owner_keys import KeptOwnerKey, OwnerKeyCount, OwnerKeyStore
from stylobate_state.store.postgres_owner_keys import PostgresOwnerKeyStore
from stylobate_state.upgrades import Upgrades

from .samples import ADA, BOB
from .test_encrypted_fields import PEOPLE, SECRET

ANYONE = AccessRule(("public",))
OPEN = NamespaceAccess(read=ANYONE, list=ANYONE, create=ANYONE, write=ANYONE, delete=ANYONE, assign=ANYONE)
DECLARED = {
    name: replace(PEOPLE, name=name, fields=(), access=OPEN, per_owner=True, on_owner_deleted=says)
    for name, says in (("bills", "anonymize"), ("drafts", "delete"))
}


@dataclass
class Place:
    """A state service on one store, and what another process of it has."""

    manager: StateManager
    other: StateManager
    forgetter: OwnerForgetter
    store: Any
    keys: DataKeys
    owners: OwnerKeyStore
    kept: Any
    """The adapters of a database; None: it is memory."""

    async def put(self, namespace: str, key: str, ssn: str, principal: Any = ADA) -> None:
        """Write an object."""
        data = {"name": key, "ssn": ssn, "bank": {"iban": f"iban {ssn}"}}
        await self.manager.change(principal, namespace, key, Put(orjson.dumps(data)), expected=None)

    async def get(self, namespace: str, key: str, manager: StateManager | None = None) -> dict[str, Any]:
        """Return the data of an object as whoever may read all of it does."""
        (state,) = await (manager or self.manager).get(ADA, [(namespace, key)])
        found: dict[str, Any] = orjson.loads(state.data)
        return found

    async def stored(self, namespace: str, key: str) -> dict[str, Any]:
        """Return its data as it is stored."""
        at = StateKey("default", namespace, key)
        found: dict[str, Any] = orjson.loads((await self.store.read([at]))[at].data)
        return found

    async def forget(self, owner: str) -> None:
        """Delete an account, as far as state is concerned."""
        _, place = await self.forgetter.step("default", owner, "")
        while place:
            _, place = await self.forgetter.step("default", owner, place)


@pytest_asyncio.fixture
async def place(open_kept_or_none: Any, environment: Any, clock: Any) -> AsyncIterator[Place]:
    """Give a service of two processes on each store in turn."""
    one: Any = None
    if open_kept_or_none is None:
        store: Any = MemoryStateStore(clock)
        forgetting: Any = MemoryForgettingStore(store)
        owners: Any = MemoryOwnerKeyStore()
    else:
        one = await open_kept_or_none()
        store, forgetting = one.store, one.forgetting
        is_sql = isinstance(one.database, DatabaseManager)
        owners = PostgresOwnerKeyStore(one.database) if is_sql else MongoOwnerKeyStore(one.database)
    kept = MemoryDataKeyStore()

    def process(kept_for: timedelta) -> Any:
        keys = DataKeys(kept, SecretKeyEncryption(SECRET, purpose="test"), look=timedelta(milliseconds=1))
        return replace(environment, store=store, upgrades=Upgrades(sealing=Sealing(keys, OwnerKeys(owners, keys, kept=kept_for))))

    here, there = process(timedelta(minutes=1)), process(timedelta(0))
    async with (
        StateManager.open(DECLARED, here, max_data_bytes=10_000) as manager,
        StateManager.open(DECLARED, there, max_data_bytes=10_000) as other,
    ):
        forgetter = HistoryForgetter(forgetting, manager.namespaces, timedelta(0))
        owner_forgetter = OwnerForgetter(manager.namespaces, here, manager.writer, dict.fromkeys(DECLARED, forgetter))
        yield Place(manager, other, owner_forgetter, store, here.sealing.keys, owners, one)


async def test_each_owner_has_a_key(place: Place) -> None:
    """The same one for all that is theirs in a namespace, another one elsewhere; every process reads what others wrote."""
    await place.put("bills", "1", "1-1")
    await place.put("bills", "2", "2-2")
    await place.put("bills", "3", "3-3", BOB)
    await place.put("drafts", "1", "4-4")
    ids = [
        (await place.stored(*at))["ssn"].split(".")[2] for at in (("bills", "1"), ("bills", "2"), ("bills", "3"), ("drafts", "1"))
    ]
    assert ids[0] == ids[1]
    assert len({*ids}) == 3
    assert all(id_.startswith("o") for id_ in ids)
    assert (await place.get("bills", "1", place.other))["ssn"] == "1-1"


async def test_what_was_read_is_not_kept_in_memory(place: Place) -> None:
    """No plaintext of an owner's stays, nor a key that was not looked for lately: what is destroyed is gone there, too."""
    await place.put("bills", "1", "1-1")
    assert (await place.get("bills", "1", place.other))["ssn"] == "1-1"
    sealing = place.other.keeper._environment.sealing
    for manager in (place.manager, place.other):
        assert not manager.keeper._environment.sealing._known_by_heart
    await place.put("bills", "2", "2-2", BOB)
    assert (await place.get("bills", "2", place.other))["ssn"] == "2-2"
    assert [known.kept.owner for known in sealing.owners._known.values()] == ["bob"]


async def test_deleting_an_account_destroys_what_was_theirs(place: Place) -> None:
    """Objects lose the fields or go; what is left in older versions, and in copies from before, nobody opens any more."""
    for namespace in DECLARED:
        await place.put(namespace, "1", "1-1")
        await place.put(namespace, "1", "1-2")
        await place.put(namespace, "2", "2-2", BOB)
    copy = await place.stored("bills", "1")
    assert (await place.get("bills", "1", place.other))["ssn"] == "1-2"
    await place.forget("ada")
    assert await place.stored("bills", "1") == {"name": "1", "bank": {}}
    assert await place.get("bills", "1") == {"name": "1", "bank": {}}
    assert (await place.get("bills", "2"))["ssn"] == "2-2"
    gone = StateKey("default", "drafts", "1")
    assert (await place.store.read([gone]))[gone].is_deleted
    for manager in (place.manager, place.other):
        history = [orjson.loads(entry.data) for entry in (await manager.list_history(ADA, "bills", "1")).items]
        assert history == [{"name": "1", "bank": {}}] * 3
        with pytest.raises(StateFieldForgottenError, match="/ssn") as refused:
            await manager.version(ADA, "bills", "1", Moment(1))
        assert refused.value.reason == "STATE_FIELD_FORGOTTEN"
        with pytest.raises(StateFieldForgottenError):
            await manager.change(ADA, "bills", "1", Restore(1), expected=None)
    assert copy["ssn"] in repr(await place.store.list_history(HistoryQuery(StateKey("default", "bills", "1"), 9)))
    (kept,) = await place.owners.find([copy["ssn"].split(".")[2]])
    assert (kept.owner, kept.sealed) == ("", b"")
    await place.manager.change(ADA, "bills", "1", Patch(b'{"ssn": "9-9"}'), expected=None)
    assert (await place.get("bills", "1"))["ssn"] == "9-9", "it goes on as its new owner's"


async def test_what_is_handed_over_is_sealed_for_its_new_owner(place: Place) -> None:
    """With the account of the one before goes what it was then; with that of the new one what it is."""
    await place.put("bills", "1", "1-1")
    before = await place.stored("bills", "1")
    await place.manager.change(ADA, "bills", "1", Assign("bob"), expected=None)
    after = await place.stored("bills", "1")
    assert before["ssn"].split(".")[2] != after["ssn"].split(".")[2]
    await place.forget("ada")
    assert (await place.get("bills", "1"))["ssn"] == "1-1"
    with pytest.raises(StateFieldForgottenError):
        await place.manager.version(ADA, "bills", "1", Moment(1))
    assert orjson.loads((await place.manager.version(ADA, "bills", "1", Moment(2))).data)["ssn"] == "1-1"


async def test_encrypting_anew_gives_every_owner_another_key(place: Place) -> None:
    """What was sealed for the namespace alone, or not at all, is sealed for its owner then; what is destroyed stays so."""
    if place.kept is None or not isinstance(database := place.kept.database, DatabaseManager):
        pytest.skip("what was stored before is written by SQL")
    await place.put("bills", "gone", "0-0", BOB)
    await place.forget("bob")
    await place.put("bills", "1", "1-1")
    await place.put("bills", "1", "1-2")
    await database.execute("update state set data = jsonb_set(data, '{ssn}', '\"7-7\"') where key = '1'")
    await database.execute(
        "update outbox_event set data = jsonb_set(data, '{data,ssn}', '\"7-7\"') where subject = '1' and version = 1"
    )
    sealing = place.manager.keeper._environment.sealing
    reencryptor = Reencryptor(place.manager.namespaces, place.store, sealing, place.kept.texts)
    before = await place.stored("bills", "1")
    await reencryptor.begin()
    at, unreadable = "", []
    while True:
        step = await reencryptor.step("bills", at)
        unreadable += step.unreadable
        if not (at := step.next_place):
            break
    assert unreadable == []
    after = await place.stored("bills", "1")
    assert after["bank"]["iban"].split(".")[2] != before["bank"]["iban"].split(".")[2]
    assert after["ssn"].split(".")[2] == after["bank"]["iban"].split(".")[2]
    rows = await database.fetch("select data -> 'data' ->> 'ssn' as ssn from outbox_event where subject = '1' order by version")
    assert {row["ssn"].split(".")[2] for row in rows} == {after["ssn"].split(".")[2]}
    assert [orjson.loads(entry.data)["ssn"] for entry in (await place.manager.list_history(ADA, "bills", "1")).items] == [
        "1-2",
        "7-7",
    ]
    await place.forget("ada")
    with pytest.raises(StateFieldForgottenError):
        await place.manager.version(ADA, "bills", "1", Moment(1))


async def test_every_store_keeps_them(place: Place) -> None:
    """One for each data key and owner; destroyed ones are known by their id, and another can be made."""
    store, key = place.owners, KeptOwnerKey("o1", purpose_of("x"), "default", "ada", "d1", b"k")
    assert await store.add(key)
    assert not await store.add(replace(key, id="o2"))
    assert await store.add(replace(key, id="o3", sealed_by="d2"))
    assert await store.add(replace(key, id="o4", tenant="other"))
    assert await store.current("d1", "default", "ada") == key
    assert await store.current("d1", "default", "bob") is None
    assert await store.destroy("y", "default", "ada") == 0
    assert await store.destroy(purpose_of("x"), "default", "ada") == 2
    assert await store.current("d1", "default", "ada") is None
    assert {one.id: (one.owner, one.sealed) for one in await store.find(["o1", "o3", "o4", "o5"])} == {
        "o1": ("", b""),
        "o3": ("", b""),
        "o4": ("ada", b"k"),
    }
    assert await store.add(replace(key, id="o6"))
    assert await store.add(replace(key, id="o7", sealed_by="d2", owner="bob"))
    assert await store.add(replace(key, id="o8", purpose=purpose_of("y"), sealed_by="d3"))
    assert await store.destroy(purpose_of("y"), "default", "ada") == 1
    counts = [OwnerKeyCount(purpose_of("x"), 3, 3, 2, 2), OwnerKeyCount(purpose_of("y"), 0, 0, 0, 1)]
    assert [*await store.counts()] == counts
