"""Records in a chain, on a real PostgreSQL: whatever is done to one that was sealed is found."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.audit import AuditRecord, AuditSealer
from stylobate.audit.chain import Block, faults
from stylobate.audit.convert_chain import from_stretch, to_known
from stylobate.audit.postgres import PostgresAuditChain, PostgresAuditStore
from stylobate.database import DatabaseManager, MigrationSet
from stylobate.errors import InvalidInputError
from stylobate.health import Status
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.testing.fixtures import DatabaseFor
from stylobate.testing.until import until

SETS = (MigrationSet.of("leases", "stylobate.leases"), MigrationSet.of("audit", "stylobate.audit"))
BLOCK = 10
YEAR = timedelta(days=365)
_SWAPPED = (
    "update audit_record r set seq = o.seq from audit_record o where (r.action, o.action) in (('{0}', '{1}'), ('{1}', '{0}'))"
)
_COPIED = """
insert into audit_record
select gen_random_uuid(), time, tenant, actor, via, action, target, outcome, reason, request_id, detail, seq
from audit_record where action = 'a1.1'
"""
TAMPERING: list[tuple[str, dict[int, str]]] = [
    ("update audit_record set actor = 'eve' where action = 'a2.3'", {2: "one of its 10 records"}),
    ("update audit_record set detail = '{\"n\": 2}' where action = 'a2.3'", {2: "one of its 10"}),
    ("update audit_record set time = time + interval '1 microsecond' where action = 'a6.4'", {4: "one of its 5"}),
    ("delete from audit_record where action = 'a0.0'", {1: "sealed with 10 records"}),
    ("delete from audit_record where action ~ '^a[45]'", {3: "0 are there"}),
    (_COPIED, {1: "11 are there"}),
    (_SWAPPED.format("a2.0", "a2.1"), {2: "one of its 10"}),
    (_SWAPPED.format("a0.0", "a5.0"), {1: "one of its 10", 3: "one of its 10"}),
    ("update audit_block set hash = sha256('x') where number = 2", {2: "its seal", 3: "its seal"}),
    ("update audit_block set last_time = last_time - interval '1 year' where number = 1", {1: "its seal"}),
    ("delete from audit_block where number = 3", {3: "blocks 3 to 3 are missing"}),
    ("delete from audit_block where number = 1", {1: "blocks 1 to 1 are missing"}),
    (
        "delete from audit_block where number = 4; update audit_block set last_seq = 35, count = 15 where number = 3",
        {3: "sealed with 15 records"},
    ),
]


@pytest.fixture
async def database(database_for: DatabaseFor) -> DatabaseManager:
    """Give a database with 35 records, sealed in blocks of ten."""
    database = await database_for("test", *SETS)
    for number in range(7):
        await write(database, *(f"a{number}.{at}" for at in range(5)))
    await seal(database)
    return database


async def write(database: DatabaseManager, *actions: str, age: timedelta = timedelta()) -> None:
    """Write records in one transaction."""
    made = [AuditRecord(action, actor="ada", detail={"n": 1.5}, time=datetime.now(UTC) - age) for action in actions]
    await PostgresAuditStore(database).insert(made)


async def seal(database: DatabaseManager, size: int = BLOCK) -> Block | None:
    """Seal all that is there; return the newest block."""
    chain = PostgresAuditChain(database, "test")
    mark = await chain.mark()
    assert await chain.is_past(mark)
    while await chain.seal(mark, size):
        pass
    return await chain.head()


async def found(database: DatabaseManager, blocks: int = 2) -> list[tuple[int, str]]:
    """Verify all, some blocks at a time; return the faults."""
    chain, told, after = PostgresAuditChain(database, "test"), list[tuple[int, str]](), 0
    while True:
        stretch = await chain.stretch(after, blocks)
        told += faults("test", stretch)
        if not stretch.blocks:
            return told
        after = stretch.blocks[-1].number


async def test_whatever_is_done_to_what_was_sealed_is_found(database: DatabaseManager) -> None:
    """A record or a seal that is changed, removed, put in or moved is named with its block, and no other block."""
    tables = ("audit_record", "audit_block")
    for table in tables:
        await database.execute(f"create table {table}_kept as table {table}")
    for tampering, places in TAMPERING:
        assert await found(database) == []
        await database.execute(tampering)
        for size in (1, 50):
            told = dict(await found(database, size))
            assert set(told) == set(places), (tampering, told)
            assert all(said in told[block] for block, said in places.items()), (tampering, told)
        for table in tables:
            await database.execute(f"truncate {table}; insert into {table} table {table}_kept")


async def test_nothing_is_sealed_before_all_that_may_come_before_it(database: DatabaseManager) -> None:
    """A record of a transaction that is still under way keeps its place; what is written meanwhile waits for it."""
    chain = PostgresAuditChain(database, "test")
    async with database.transaction() as late:
        await PostgresAuditStore(database).insert([AuditRecord("late")], late)
        await write(database, "early")
        mark = await chain.mark()
        assert not await chain.is_past(mark)
    assert await chain.is_past(mark)
    await chain.seal(mark, BLOCK)
    assert await found(database) == []
    stretch = await chain.stretch(0, 50)
    assert (stretch.blocks[-1].count, stretch.unsealed) == (2, 0)


async def test_a_sealer_stopped_anywhere_and_two_at_once_make_one_chain(database_for: DatabaseFor) -> None:
    """Four seal without a lease while others write, and are cancelled again and again: each record is sealed once."""
    one, other = await database_for("test", *SETS), await database_for("test", *SETS)

    async def writes() -> None:
        for number in range(60):
            await write(one, *(f"{number}.{at}" for at in range(7)))

    async def seals(database: DatabaseManager, pause: float) -> None:
        while not writing.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await seal_some(database)

    async def seal_some(database: DatabaseManager) -> None:
        chain = PostgresAuditChain(database, "test")
        mark = await chain.mark()
        while True:
            if await chain.is_past(mark):
                await chain.seal(mark, BLOCK)
                mark = await chain.mark()

    writing = asyncio.create_task(writes())
    await asyncio.gather(writing, *(seals(database, pause) for database in (one, other) for pause in (0.007, 0.02)))
    await seal(one)
    assert await found(one, 50) == []
    sealed = await one.fetchrow("select sum(count) as records, count(*) as blocks, max(number) as last from audit_block")
    assert sealed is not None
    assert (sealed["records"], sealed["blocks"]) == (420, sealed["last"])


async def test_retention_deletes_whole_blocks_and_the_rest_verifies(database: DatabaseManager) -> None:
    """Old records go, a record tells of it, what is left hangs on the last hash; a deleted record that is back is found."""
    chain = PostgresAuditChain(database, "test")
    assert await chain.delete(YEAR, 30) == 0
    await database.execute("update audit_record set time = time - interval '2 years' where action ~ '^a[0-4]'")
    await database.execute("delete from audit_block")
    await seal(database)
    saved = await database.fetch("select * from audit_record where action = 'a0.1'")
    assert await chain.delete(YEAR, 1) == 10
    assert await chain.delete(YEAR, 30) == 10, "the third block holds newer ones too"
    assert await chain.delete(YEAR, 30) == 0
    await seal(database)
    assert await found(database) == []
    left = [row["action"] for row in await database.fetch("select action from audit_record order by seq, id")]
    assert (left[0], left[-2:], len(left)) == ("a4.0", ["audit.retention", "audit.retention"], 17)
    answer = from_stretch("test", await chain.stretch(0, 50), None, None)
    assert (answer.deleted.number, answer.blocks, answer.records, answer.unsealed) == (2, 3, 17, 0)
    (row,) = saved
    await database.execute(
        "insert into audit_record select * from jsonb_populate_record(null::audit_record, $1::jsonb)",
        await database.fetchval(
            "select to_jsonb(r) || jsonb_build_object('seq', $1::bigint, 'id', gen_random_uuid()) from audit_record r limit 1",
            row["seq"],
        ),
    )
    assert await found(database) == [(2, "1 records stand where retention took all away")]


async def test_what_was_written_before_there_was_a_chain_is_sealed_first(database_for: DatabaseFor) -> None:
    """Records of the release before have no number of their own; they are sealed in blocks like all others."""
    database = await database_for("test", *SETS)
    await write(database, *(f"old{number}" for number in range(25)))
    await database.execute("update audit_record set seq = 0")
    await write(database, "new")
    head = await seal(database)
    assert head is not None
    assert head.number == 3
    assert await found(database) == []
    await database.execute("delete from audit_record where action = 'old7'")
    assert [block for block, _ in await found(database)] == [1]


async def test_a_head_that_was_kept_shows_a_chain_made_anew(database: DatabaseManager) -> None:
    """Whoever makes the whole chain anew, or cuts it short, is found by a head that stands elsewhere."""
    chain, kept = PostgresAuditChain(database, "test"), await seal(database)
    assert kept is not None
    request = pb.VerifyRecordsRequest(known=pb.Block(number=kept.number, hash=kept.hash.hex()))

    async def told() -> list[str]:
        known = to_known(request)
        assert known is not None
        answer = from_stretch("test", await chain.stretch(0, 50), known, await chain.block(known[0]))
        return [fault.detail for fault in answer.faults]

    assert await told() == []
    await database.execute("delete from audit_block where number = 4")
    await database.execute("delete from audit_record where action >= 'a6'")
    assert await told() == ["it is not in the chain any more, which ends before it"]
    await write(database, "again")
    await seal(database)
    assert await told() == ["it is another one than was known: the chain was made anew"]
    for wrong in (pb.Block(number=1, hash="ab"), pb.Block(number=0, hash="00" * 32), pb.Block(number=1, hash="x" * 64)):
        with pytest.raises(InvalidInputError):
            to_known(pb.VerifyRecordsRequest(known=wrong))


async def test_records_are_sealed_by_themselves(database_for: DatabaseFor) -> None:
    """Of two processes the one with the lease seals what is written, and health says that somebody does."""
    database = await database_for("test", *SETS)
    leases = [LeaseManager(PostgresLeaseStore(database), f"node{number}") for number in range(2)]
    chain = PostgresAuditChain(database, "test")
    sealers = [AuditSealer(chain, "test", one, every=timedelta(milliseconds=20)) for one in leases]
    running = [asyncio.create_task(sealer.run()) for sealer in sealers]
    try:
        await write(database, "a")
        await until(lambda: any(sealer._head for sealer in sealers))
        assert all([(await sealer.health()).status is Status.HEALTHY for sealer in sealers])
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    stretch = await chain.stretch(0, 50)
    assert (stretch.unsealed, [block.count for block in stretch.blocks]) == (0, [1])
