"""Reading audit records: what every store gives, and the records of several services as one list."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.audit import AuditQuery, AuditRecord, AuditStore, Outcome
from stylobate.audit.merged import merged
from stylobate.audit.mongodb import MongoAuditStore
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.audit.postgres.store import SCANNED
from stylobate.audit.query import Place
from stylobate.database import MigrationSet
from stylobate.errors import InvalidInputError
from stylobate.identity import DEFAULT_TENANT
from stylobate.ids import new_id
from stylobate.testing.fixtures import DatabaseFor, MongoFor

from .memory_store import MemoryAuditStore

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BEAT = timedelta(seconds=2)
ID = "01a20883-0000-7000-8000-000000000000"
ASKED = [
    {},
    {"actor": "ada"},
    {"actor": "nobody-known"},
    {"action": "auth.login"},
    {"action": "auth.*"},
    {"action": "*"},
    {"actor": "eve", "action": "shop.*"},
    {"target": "user:eve"},
    {"outcome": Outcome.DENIED},
    {"since": NOON + BEAT, "until": NOON + 3 * BEAT},
    {"actor": "ada", "outcome": Outcome.FAILURE, "since": NOON},
]


def records() -> list[AuditRecord]:
    """Return records of every kind; some of the same moment, and some of another tenant."""
    actions, outcomes = ("auth.login", "auth.logout", "shop.order", "a*b"), list(Outcome)
    return [
        AuditRecord(
            actions[number % 4],
            outcomes[number % 3],
            actor=("ada", "eve", "")[number // 2 % 3],
            tenant="acme" if number % 11 == 0 else DEFAULT_TENANT,
            target=("", "user:eve")[number % 2],
            request_id=str(number),
            time=NOON + number // 3 * (BEAT / 2),
        )
        for number in range(40)
    ]


AUDIT = MigrationSet.of("audit", "stylobate.audit")


@pytest.fixture
async def memory() -> "AuditStore[object]":
    """Give the store in memory."""
    return await filled(MemoryAuditStore())


@pytest.fixture
async def postgres(database_for: DatabaseFor) -> "AuditStore[object]":
    """Give the one on PostgreSQL."""
    return await filled(PostgresAuditStore(await database_for("test", AUDIT)))


@pytest.fixture
async def mongodb(mongo_for: MongoFor) -> "AuditStore[object]":
    """Give the one on MongoDB."""
    return await filled(MongoAuditStore(await mongo_for("test", AUDIT)))


async def filled(store: "AuditStore[object]") -> "AuditStore[object]":
    """Put the records in; those without a target in two packs, where a store has packs, and the others beside them."""
    made = records()
    for some in (made[0::4], made[2::4], made[1::2]):
        await store.insert(some)
    return store


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def store(request: pytest.FixtureRequest) -> "AuditStore[object]":
    """Give each kind of store in turn, with the records."""
    found: AuditStore[object] = request.getfixturevalue(request.param)
    return found


def fitting(query: AuditQuery) -> list[int]:
    """Return the numbers of the records that were asked for, the latest first."""
    found = [record for record in records() if record.tenant == query.tenant]
    name = query.action.removesuffix("*")
    found = [
        record
        for record in found
        if query.actor in {"", record.actor}
        and (record.action.startswith(name) if name != query.action else query.action in {"", record.action})
        and query.target in {"", record.target}
        and query.outcome in {None, record.outcome}
        and (query.since or NOON) <= record.time < (query.until or NOON + 99 * BEAT)
    ]
    return [int(record.request_id) for record in reversed(found)]


@pytest.mark.parametrize("asked", ASKED, ids=str)
async def test_all_that_fits_is_read_once_page_by_page(store: "AuditStore[object]", asked: dict[str, object]) -> None:
    """The latest come first; pages of any size leave nothing out and give nothing twice."""
    for size in (3, 500):
        query, numbers = AuditQuery(DEFAULT_TENANT, **asked), []
        before = None
        for _ in count():
            page = await store.read(AuditQuery(DEFAULT_TENANT, **asked, before=before), size)
            assert len(page.records) <= size
            numbers += [int(record.request_id) for record in page.records]
            if (before := page.reached) is None:
                break
        assert numbers == fitting(query)


async def test_what_is_read_is_what_was_written(store: "AuditStore[object]") -> None:
    """Every part of a record comes back."""
    whole = AuditRecord("a", Outcome.DENIED, "who", "t", "via", "what", "WHY", "request", {"a": [1, {"b": None}]}, new_id(), NOON)
    await store.insert([whole])
    assert (await store.read(AuditQuery("t"), 9)).records == [whole]


@pytest.mark.parametrize("store", ["postgres", "mongodb"], indirect=True)
async def test_one_answer_looks_at_so_many_records_only(store: "AuditStore[object]") -> None:
    """What is rare is found all the same: an answer without records says where to go on."""
    asked = AuditQuery("t", action="rare")
    rare = AuditRecord("rare", tenant="t", time=NOON - BEAT)
    plain = [AuditRecord("plain", tenant="t", time=NOON + number * (BEAT / 9000)) for number in range(SCANNED + 5000)]
    for some in ([rare], *(plain[at : at + 1000] for at in range(0, len(plain), 1000))):
        await store.insert(some)
    first = await store.read(asked, 10)
    assert first.records == []
    assert first.reached is not None
    second = await store.read(replace(asked, before=first.reached), 10)
    assert (second.records, second.reached) == ([rare], None)


@pytest.mark.parametrize("text", ["x", "0" * 14, f"{'0' * 14}-1", f"-{ID}", f"{'0' * 14}{ID}", f"{'F' * 14}-{ID}"])
def test_a_position_is_passed_on_as_received(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidInputError):
        Place.parse(text)


@given(
    st.lists(st.lists(st.integers(0, 60), unique=True, max_size=25), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 9)
)
def test_records_of_several_services_are_one_list(services: list[list[int]], size: int, most: int) -> None:
    """Page by page all come once, in order, however little each service tells at a time."""
    logs = {str(at): sorted((f"{number:03}-{at}" for number in numbers), reverse=True) for at, numbers in enumerate(services)}
    before, told = "", []
    for _ in count():
        found = merged({name: page(log, before, most) for name, log in logs.items()}, size)
        assert len(found.records) <= size
        assert all(service == record.position[-1] for service, record in found.records)
        told += [record.position for _, record in found.records]
        before = found.reached
        if not before:
            break
    assert told == sorted((position for log in logs.values() for position in log), reverse=True)


def page(log: list[str], before: str, most: int) -> pb.ListRecordsResponse:
    """Return a page of a service that has these positions."""
    left = [position for position in log if not before or position < before]
    reached = left[most - 1] if len(left) >= most else ""
    return pb.ListRecordsResponse(records=[pb.Record(position=position) for position in left[:most]], reached=reached)
