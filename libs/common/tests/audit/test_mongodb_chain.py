"""Records in a chain, on a real MongoDB: whatever is done to one that was sealed is found."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.int64 import Int64
from stylobate.audit import AuditRecord
from stylobate.audit.chain import faults
from stylobate.audit.mongodb import MongoAuditChain, MongoAuditStore
from stylobate.audit.query import AuditQuery, Place
from stylobate.database import MigrationSet
from stylobate.database.mongodb import MongoManager
from stylobate.identity import DEFAULT_TENANT
from stylobate.testing.fixtures import MongoFor

pytestmark = pytest.mark.not_sharded
AUDIT = MigrationSet.of("audit", "stylobate.audit")
BLOCK = 10
RECORDS, PACKS, BLOCKS = "audit_record", "audit_pack", "audit_block"
Tampering = Callable[[MongoManager], Awaitable[Any]]


async def _copied(database: MongoManager) -> None:
    row = await database.find_one(RECORDS, {"action": "a1.1"}) or {}
    await database.insert(RECORDS, [{**row, "_id": "copied"}])


async def _swapped(database: MongoManager) -> None:
    one, other = [await database.find_one(RECORDS, {"action": action}) or {} for action in ("a0.0", "a2.0")]
    for row, block in ((one, other["block"]), (other, one["block"])):
        await database.update_one(RECORDS, {"_id": row["_id"]}, {"$set": {"block": block}})


TAMPERING: list[tuple[Tampering, dict[int, str]]] = [
    (lambda on: on.update_one(RECORDS, {"action": "a2.3"}, {"$set": {"actor": "eve"}}), {2: "one of its 10 records"}),
    (lambda on: on.update_one(RECORDS, {"action": "a2.3"}, {"$set": {"detail": '{"n": 2}'}}), {2: "one of its 10"}),
    (lambda on: on.update_one(RECORDS, {"action": "a2.3"}, [{"$set": {"time": {"$add": ["$time", 1]}}}]), {2: "one of its 10"}),
    (lambda on: on.delete(RECORDS, {"action": "a0.0"}), {1: "sealed with 10 records"}),
    (_copied, {1: "11 are there"}),
    (_swapped, {1: "one of its 10", 2: "one of its 10"}),
    (lambda on: on.update_one(BLOCKS, {"_id": 2}, {"$set": {"hash": b"x"}}), {2: "its seal", 3: "its seal"}),
    (lambda on: on.delete(BLOCKS, {"_id": 1}), {1: "blocks 1 to 1 are missing"}),
]


async def _copied_pack(database: MongoManager) -> None:
    row = await database.find_one(PACKS, {"block": 4}) or {}
    await database.insert(PACKS, [{**row, "_id": "copied"}])


def _in_pack(**changes: Any) -> Tampering:
    return lambda on: on.update_one(PACKS, {"block": 4}, {"$set": changes})


TAMPERING_WITH_PACKS: list[tuple[Tampering, dict[int, str]]] = [
    (_in_pack(records=b"[]"), {4: "one of its 9 records"}),
    (_in_pack(actors=["eve"]), {4: "one of its 9"}),
    (_in_pack(tenant="other"), {4: "one of its 9"}),
    (_in_pack(first=Int64(1)), {4: "one of its 9"}),
    (_in_pack(count=Int64(8)), {4: "8 are there"}),
    (_in_pack(block=Int64(5)), {4: "0 are there", 5: "18 are there"}),
    (lambda on: on.delete(PACKS, {"block": 6}), {6: "2 are there"}),
    (lambda on: on.delete(RECORDS, {"action": "b0"}), {6: "9 are there"}),
    (_copied_pack, {4: "18 are there"}),
]


@pytest.fixture
async def database(mongo_for: MongoFor) -> MongoManager:
    """Give a database with 25 records, sealed in blocks of ten."""
    made = await mongo_for("test", AUDIT)
    for number in range(5):
        await write(made, *(f"a{number}.{at}" for at in range(5)))
    await seal(made)
    return made


async def write(database: MongoManager, *actions: str, age: timedelta = timedelta(), is_bare: bool = False) -> None:
    """Write records at once; what is bare is packed where it is enough."""
    detail = {} if is_bare else {"n": 1.5}
    made = [AuditRecord(action, actor="ada", detail=detail, time=datetime.now(UTC) - age) for action in actions]
    await MongoAuditStore(database).insert(made)


async def seal(database: MongoManager) -> None:
    """Seal all that is there."""
    chain = MongoAuditChain(database, "test")
    while await chain.seal(await chain.mark(), BLOCK):
        pass


async def found(database: MongoManager, blocks: int = 2) -> dict[int, str]:
    """Verify all, some blocks at a time; return the faults."""
    chain, told, after = MongoAuditChain(database, "test"), dict[int, str](), 0
    while True:
        stretch = await chain.stretch(after, blocks)
        told |= dict(faults("test", stretch))
        if not stretch.blocks:
            return told
        after = stretch.blocks[-1].number


async def test_whatever_is_done_to_what_was_sealed_is_found(database: MongoManager) -> None:
    """A record or a seal that is changed, removed, put in or moved is named with its block, and no other block."""
    for number in (9, 9, 8):  # a block each, and in the last there is room for two more
        await write(database, *(f"p{at}" for at in range(number)), is_bare=True)
    await write(database, "b0", "b1")
    await seal(database)
    assert [row["count"] for row in await database.find(BLOCKS, {}, sort=[("_id", 1)])] == [10, 10, 5, 9, 9, 10]
    kept = {name: await database.find(name, {}) for name in (RECORDS, PACKS, BLOCKS)}
    for tampering, places in TAMPERING + TAMPERING_WITH_PACKS:
        assert await found(database) == {}
        await tampering(database)
        for size in (1, 50):
            told = await found(database, size)
            assert set(told) == set(places), told
            assert all(said in told[block] for block, said in places.items()), told
        for name, rows in kept.items():
            await database.delete(name, {})
            await database.insert(name, rows)


async def test_many_that_seal_at_once_make_one_chain(mongo_for: MongoFor) -> None:
    """Two processes seal without a lease while others write, and are cancelled again and again: each record is sealed once."""
    one, other = await mongo_for("test", AUDIT), await mongo_for("test", AUDIT)

    async def writes() -> None:
        for number in range(20):
            await write(one, *(f"{number}.{at}" for at in range(7 + number % 2)), is_bare=True)

    async def seals(database: MongoManager, pause: float) -> None:
        while not writing.done():
            sealing = asyncio.create_task(seal(database))
            await asyncio.wait({sealing, writing}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            sealing.cancel()
            await asyncio.wait({sealing})

    writing = asyncio.create_task(writes())
    await asyncio.gather(writing, seals(one, 0.02), seals(other, 0.05))
    await seal(one)
    assert await found(one, 50) == {}
    blocks = await one.find(BLOCKS, {}, sort=[("_id", 1)])
    assert (sum(block["count"] for block in blocks), len(blocks)) == (150, blocks[-1]["_id"])


async def test_retention_deletes_whole_blocks_and_the_rest_verifies(mongo_for: MongoFor) -> None:
    """Old records go, a record tells of it, and what is left hangs on the last hash; one that is back is found."""
    database = await mongo_for("test", AUDIT)
    chain, year = MongoAuditChain(database, "test"), timedelta(days=365)
    await write(database, *(f"old{at}" for at in range(13)), age=2 * year)
    await write(database, *(f"new{at}" for at in range(10)))
    await seal(database)
    saved = await database.find_one(RECORDS, {"action": "old3"})
    assert saved is not None
    assert await chain.delete(year, 30) == 10, "the second block holds newer ones too"
    assert await chain.delete(year, 30) == 0
    await seal(database)
    assert await found(database) == {}
    records = await MongoAuditStore(database).read(AuditQuery("default", action="audit.*"), 10)
    assert [record.detail["records"] for record in records.records] == [10]
    await database.insert(RECORDS, [saved])
    assert await found(database) == {1: "1 records stand where retention took all away"}


async def test_retention_takes_packs_too(mongo_for: MongoFor) -> None:
    """They go by their blocks as other records do, and are counted."""
    database = await mongo_for("test", AUDIT)
    chain, year = MongoAuditChain(database, "test"), timedelta(days=365)
    await write(database, *(f"old{at}" for at in range(9)), age=2 * year, is_bare=True)
    await write(database, *(f"new{at}" for at in range(9)), is_bare=True)
    await seal(database)
    assert await chain.delete(year, 30) == 9
    stretch = await chain.stretch(0, 50)
    assert (stretch.unsealed, [block.count for block in stretch.blocks]) == (1, [9])
    assert await found(database) == {}


async def test_what_is_changed_before_it_is_sealed_is_found(mongo_for: MongoFor) -> None:
    """A record is sealed as it was written, also one that came without its digest."""
    database = await mongo_for("test", AUDIT)
    await write(database, "kept", "changed")
    await write(database, "bare")
    await write(database, *(f"p{at}" for at in range(8)), is_bare=True)
    await database.update_one(PACKS, {}, {"$unset": {"digest": ""}})
    await database.update_one(RECORDS, {"action": "changed"}, {"$set": {"actor": "eve"}})
    await database.update_one(RECORDS, {"action": "bare"}, {"$unset": {"digest": ""}})
    await seal(database)
    assert set(await found(database)) == {1}
    await database.update_one(RECORDS, {"action": "changed"}, {"$set": {"actor": "ada"}})
    assert await found(database) == {}
    assert [row for row in await database.find(RECORDS, {}) if "digest" in row] == []


UNREADABLE: list[tuple[str, dict[str, Any], set[str]]] = [
    (PACKS, {"records": b"[["}, {"alone"}),
    (PACKS, {"records": b"[1]"}, {"alone"}),
    (PACKS, {"records": b'[["id", "2026-01-31T12:00:00", "", "", "p0", "success", "", ""]]'}, {"alone"}),
    (PACKS, {"records": b'[["%s", "2026-01-31T12:00:00+00:00", "", "", 1, "success", "", ""]]' % (b"0" * 36)}, {"alone"}),
    (PACKS, {"first": Int64(-(1 << 62)), "last": Int64(1 << 62)}, {"alone"}),
    (RECORDS, {"detail": "{"}, {"alone", "packed"}),
    (RECORDS, {"detail": "1"}, {"alone", "packed"}),
    (RECORDS, {"time": Int64(1 << 62)}, {"packed"}),
]


async def test_what_nobody_can_read_any_more_hides_nothing_else(mongo_for: MongoFor) -> None:
    """The rest is listed, more is sealed, and verifying names the block: somebody wrote past the platform."""
    database = await mongo_for("test", AUDIT)
    await write(database, *["packed"] * 8, is_bare=True)
    await write(database, "alone")
    await seal(database)
    kept = {name: await database.find(name, {}) for name in (RECORDS, PACKS, BLOCKS)}
    for number, (name, changes, listed) in enumerate(UNREADABLE):
        await database.update_one(name, {}, {"$set": changes})
        page = await MongoAuditStore(database).read(AuditQuery(DEFAULT_TENANT), 50)
        assert {record.action for record in page.records} == listed, (number, changes)
        assert all(Place.parse(str(Place.of(record))) for record in page.records)
        assert set(await found(database)) == {1}, (number, changes)
        await database.update_one(name, {}, {"$set": {"block": Int64(0)}})
        await seal(database)
        assert set(await found(database)) == {1}, (number, changes)
        for one, rows in kept.items():
            await database.delete(one, {})
            await database.insert(one, rows)
