"""What the log keeps aside of events, for watches with filters: the same in every store, and forgotten with the data."""

import json
import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from stylobate.declarations.model import IndexDeclaration, IndexField
from stylobate.outbox import Position
from stylobate.outbox.memory import MemoryEventLog
from stylobate.rpc.call import NO_CAUSE
from stylobate.testing import FakeClock
from stylobate_state.aside import aside_of, read_aside
from stylobate_state.index import IndexedFields
from stylobate_state.model import Beside, Change, StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.store.cas import cas
from stylobate_state.store.memory import MemoryStateStore

from .samples import NOTES, deletion, write
from .test_forgetting import DELETED, LAST_TWO, A, numbered_shop

NAMES = ("a.0", "address.city", "created_at", "data.owner", "owner", "status", "total", "updated_at")
FIELDS = IndexedFields.of(
    Namespace.of(
        replace(NOTES, indexes=tuple(IndexDeclaration((IndexField(name, "text"),)) for name in NAMES)), max_data_bytes=100_000
    ).indexes
)
BESIDE = Beside(aside=FIELDS)
KEY = StateKey("default", "orders", "a")
DATA = (
    '{"total": 1.50, "address": {"city": "Zürich \\" \\n"}, "owner": true}',
    '{"total": null, "address": ["city"], "a": [1, 2]}',
    '{"total": 1e30, "address": {"city": {"name": "x"}}, "a": {"0": -0.10}}',
    json.dumps({"total": 12345678901234567890, "address": {"city": "y" * 2000}}),
    json.dumps({"total": ["z" * 2000], "address": {"city": "y" * 998}}),
    '"text"',
    "[1]",
    "7",
)


class Kept:
    """A store, and its log."""

    def __init__(self, store, log, numbering, database=None):
        self.store, self.log, self.numbering, self.database = store, log, numbering, database

    async def aside(self) -> list:
        """Return what stands aside of all events, in the order of the versions."""
        await self.numbering.claim(1)
        await self.numbering.number(1)
        return [json.loads(one.event.aside or b"null") for one in (await self.log.read(Position.origin(), limit=10_000)).events]


@pytest.fixture
async def kept(open_kept_or_none):
    """Give each adapter in turn."""
    if open_kept_or_none is None:
        log = MemoryEventLog("state", FakeClock())
        return Kept(MemoryStateStore(FakeClock(), log), log, log)
    one = await open_kept_or_none()
    return Kept(one.store, one.log, one.numbering, one.database)


@pytest.mark.parametrize("seed", range(3))
async def test_every_store_keeps_the_same(kept, seed):
    """Whatever is done to an object: the fields as they were, and its own ones as they are. `aside_of` is what is meant."""
    chance, meant = random.Random(seed), list[dict]()
    owner, live = "ada", None
    for versions in range(40):
        data = chance.choice(DATA).encode()
        kind = chance.choice(["update", "transition", "assign", "migrate", "delete"]) if live is not None else "create"
        match kind:
            case "create":
                owner = chance.choice(["ada", "bob", ""])
                one = write(KEY, 0, data, owner=owner)
            case "update":
                one = write(KEY, versions, data, owner=owner)
            case "transition":
                one = write(KEY, versions, data, owner=owner, change=Change.TRANSITIONED, status="paid")
            case "assign":
                owner = chance.choice(["ada", "bob", "cy"])
                one = write(KEY, versions, live.data, owner=owner, change=Change.ASSIGNED)
            case "migrate":
                one = write(KEY, versions, data, owner=owner, change=Change.MIGRATED, schema_version=2)
            case _:
                one = replace(deletion(KEY, versions), owner=owner)
        await kept.store.write([replace(one, beside=BESIDE)])
        after = (await kept.store.read([KEY]))[KEY]
        assert after.version == versions + 1
        meant.append(json.loads(aside_of(FIELDS, live, after)))
        live = None if after.is_deleted else after
    assert await kept.aside() == meant


async def test_what_is_kept(kept):
    """Values as they were; null where there is none, or one that no index holds as such; nothing where it is too long."""
    begun = datetime.now(UTC) - timedelta(days=1)
    await kept.store.write([write(KEY, 0, DATA[0].encode(), beside=BESIDE)])
    first = (await kept.store.read([KEY]))[KEY]
    for version, data in enumerate(DATA[1:5], 1):
        await kept.store.write([write(KEY, version, data.encode(), beside=BESIDE)])
    await kept.store.write([deletion(KEY, 5, beside=BESIDE)])
    created, one, two, three, four, deleted = await kept.aside()
    assert (created["was"], set(created["is"])) == ({}, {"owner", "created_at", "updated_at"})
    own = {"owner": "ada", "created_at": created["is"]["created_at"], "updated_at": created["is"]["updated_at"]}
    assert one["was"] == {"total": 1.5, "address.city": 'Zürich " \n', "data.owner": True, "a.0": None, **own}
    assert {name: two["was"][name] for name in ("total", "address.city", "a.0")} == {
        "total": None,
        "address.city": None,
        "a.0": None,
    }
    assert (three["was"]["total"], three["was"]["address.city"], three["was"]["a.0"]) == (1e30, None, -0.1)
    assert ("address.city" in four["was"], four["was"]["total"]) == (False, 12345678901234567890)
    assert (deleted["was"]["total"], deleted["was"]["address.city"]) == (None, "y" * 998)
    if kept.database is not None:
        assert own["created_at"] == (first.created_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        assert first.created_at > begun


async def test_each_write_of_a_batch_for_itself(kept):
    """Beside writes that keep nothing aside, or that tell what was before as well."""
    keys = [StateKey("default", "orders", name) for name in "abc"]
    besides = (None, BESIDE, replace(BESIDE, before=True))
    await kept.store.write([write(key, 0, b'{"total": 1}') for key in keys])
    await kept.store.write([write(key, 1, b'{"total": 2}', beside=one) for key, one in zip(keys, besides, strict=True)])
    await kept.numbering.claim(1)
    await kept.numbering.number(1)
    events = [one.event for one in (await kept.log.read(Position.origin(), limit=10_000)).events]
    found = {event.subject: event for event in events if event.value()["version"] == 2}
    assert [bool(found[key.key].aside) for key in keys] == [False, True, True]
    assert bytes(read_aside(found["b"].aside).was["total"]) == b"1"
    assert ["before" in found[key.key].value() for key in keys] == [False, False, True]
    assert all(read_aside(event.aside).was == {} for event in events if event.value()["version"] == 1)


async def test_it_is_forgotten_with_the_data(open_kept):
    """Of the version that is forgotten, and of the one after it, whose event keeps what that was."""
    one = await open_kept()
    shop = await numbered_shop(one)

    async def keepers() -> list[int]:
        return sorted(row["version"] for row in await one.events() if row["aside"] is not None)

    await shop.write(*(write(A, n, b"[%d]" % n, beside=BESIDE) for n in range(4)))
    assert await keepers() == [1, 2, 3, 4]
    assert (await shop.forgetting.forget(LAST_TWO, 100)).versions == 2
    assert await keepers() == [4]
    await shop.write(deletion(A, 4, beside=BESIDE))
    await shop.forgetting.forget(DELETED, 100)
    assert await keepers() == []
    other = A._replace(key="other")
    await shop.write(write(other, 0, b"[1]", beside=BESIDE), write(other, 1, b"[2]", beside=BESIDE))
    await shop.forgetting.erase(other)
    assert await keepers() == []


def test_namespaces_without_indexes_keep_nothing():
    """Nor is the statement of their writes another one; likewise with the status alone, which stands in every event."""
    plain = Namespace.of(NOTES, max_data_bytes=100)
    by_status = Namespace.of(replace(NOTES, indexes=(IndexDeclaration((IndexField("status", "text"),)),)), max_data_bytes=100)
    assert (plain.beside(NO_CAUSE), by_status.beside(NO_CAUSE)) == (None, None)
    by_total = replace(NOTES, indexes=(IndexDeclaration((IndexField("status", "text"), IndexField("total", "number"))),))
    fields = IndexedFields((("total", "total"),), ())
    assert Namespace.of(by_total, max_data_bytes=100).beside(NO_CAUSE) == Beside(aside=fields)
    both = Namespace.of(replace(by_total, event_data=("delta",)), max_data_bytes=100).beside(NO_CAUSE)
    assert both == Beside(delta=True, aside=fields)


def test_a_batch_without_indexes_sends_nothing_of_it():
    """What is written aside costs nobody else anything; of a batch those that keep something have it."""
    plain = [write(KEY, 1), write(KEY, 1, beside=Beside(before=True))]
    text = cas(plain, 0, []).text
    assert not re.search(r"^(?!--).*aside", text, flags=re.MULTILINE)
    text, args, *_ = cas([*plain, write(KEY, 1, beside=BESIDE)], 0, [])
    assert "state_aside" in text
    assert [None, None, FIELDS.text] in args
