"""Parts of listings: bounded in number and in bytes, where they are read, and complete when they are put together."""

import base64
import json

import pytest
from stylobate.errors import InvalidInputError
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.testing.fixtures import DatabaseFor
from stylobate_state.history_reader import HistoryRequest
from stylobate_state.model import HistoryQuery, ListQuery, StateKey
from stylobate_state.operation import Put
from stylobate_state.state_lister import ListRequest
from stylobate_state.store.part import CHUNK
from stylobate_state.store.postgres import PostgresStateStore

from .conftest import MIGRATION_SETS
from .samples import ADA, HANDLER, write

SIZES = [10, 900, 5, 2000, 2000, 10, 10, 990, 10, 1, 3000, 3]


def document(size: int) -> bytes:
    """Return data of so many bytes."""
    return json.dumps("x" * (size - 2)).encode() if size > 1 else b"1"


async def fill(store, sizes) -> list[str]:
    """Write objects of these sizes; return their keys in order."""
    keys = [f"{number:04}" for number in range(len(sizes))]
    for start in range(0, len(sizes), 200):
        chunk = range(start, min(start + 200, len(sizes)))
        await store.write([write(StateKey("default", "things", keys[n]), 0, document(sizes[n])) for n in chunk])
    return keys


@pytest.mark.parametrize(("limit", "max_bytes"), [(3, 10**6), (12, 10**6), (13, 1000), (500, 2000), (500, 1), (500, 0), (1, 1)])
async def test_parts_of_a_list_keep_their_bounds_and_miss_nothing(store, limit, max_bytes):
    """Each part has at most so many items and bytes, its first item whatever its size; together they are the list."""
    keys = await fill(store, SIZES)
    seen: list[str] = []
    while True:
        part = await store.list_states(ListQuery("default", "things", limit, max_bytes, after=seen[-1] if seen else ""))
        assert 1 <= len(part.items) <= limit
        assert len(part.items) == 1 or sum(len(state.data) for state in part.items) <= max_bytes
        seen += [state.key.key for state in part.items]
        if not part.has_more:
            break
    assert seen == keys


@pytest.mark.parametrize(("limit", "max_bytes"), [(3, 10**6), (12, 10**6), (13, 1000), (500, 2000), (500, 0)])
async def test_parts_of_a_history_keep_their_bounds_and_miss_nothing(store, limit, max_bytes):
    """From the newest version to the first."""
    key = StateKey("default", "things", "1")
    for version, size in enumerate(SIZES):
        await store.write([write(key, version, document(size))])
    seen: list[int] = []
    while True:
        part = await store.list_history(HistoryQuery(key, limit, max_bytes, before=seen[-1] if seen else None))
        assert 1 <= len(part.items) <= limit
        assert len(part.items) == 1 or sum(len(entry.data) for entry in part.items) <= max_bytes
        seen += [entry.version for entry in part.items]
        if not part.has_more:
            break
    assert seen == list(range(len(SIZES), 0, -1))


async def test_a_part_that_takes_several_looks_is_whole(store):
    """More than one chunk of small objects is one part."""
    keys = await fill(store, [4] * (3 * CHUNK + 1))
    for limit in (CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 1, 500):
        part = await store.list_states(ListQuery("default", "things", limit))
        assert [state.key.key for state in part.items] == keys[:limit]
        assert part.has_more == (limit < len(keys))


class Watched:
    """A database that counts the bytes of data that come out of it."""

    def __init__(self, database) -> None:
        self.database = database
        self.read = 0

    async def fetch(self, *args):
        """Fetch and count."""
        rows = await self.database.fetch(*args)
        self.read += sum(len(row["data"]) for row in rows if "data" in row)
        return rows


async def test_what_is_beyond_the_bound_does_not_leave_the_database(database_for: DatabaseFor):
    """Five hundred large versions are asked for, and hardly more than the part has is read."""
    database = await database_for("state", *MIGRATION_SETS)
    store = PostgresStateStore(Watched(database), PostgresIdempotencyLedger(database))
    await fill(store, [100_000] * 150)
    for version in range(100):
        await store.write([write(StateKey("default", "other", "1"), version, document(100_000))])
    for ask in (
        store.list_states(ListQuery("default", "things", 500, 1_000_000)),
        store.list_states(ListQuery("default", "things", 500, 1_000_000, owner="ada")),
        store.list_history(HistoryQuery(StateKey("default", "other", "1"), 500, 1_000_000)),
    ):
        store._database.read = 0
        part = await ask
        assert (len(part.items), part.has_more) == (10, True)
        assert store._database.read <= 1_100_000


def token(*parts: object) -> str:
    """Make a token of one's own."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()


OF_LIST, OF_HISTORY = ("states", "orders", ""), ("history", "orders", "1")


@pytest.mark.parametrize(
    "position", ["", "\0", "a\0b", "a/b", "x" * 256, "\ud800", "a\nb", 5, None, ["a"], {"a": 1}, "x" * 100_000]
)
async def test_a_made_up_place_in_a_list_is_no_token(manager, position):
    """What can be no key is refused before it reaches the store."""
    with pytest.raises(InvalidInputError) as refused:
        await manager.list_states(ADA, "orders", ListRequest(token=token(*OF_LIST, position)))
    assert [violation.pointer for violation in refused.value.violations] == ["/page_token"]


@pytest.mark.parametrize("position", ["", "-1", "1.5", "1e3", "\u0663", "x", "9" * 19, "9" * 5000, " 1", "1\0", 5, None])
async def test_a_made_up_place_in_a_history_is_no_token(manager, position):
    """A version is a number of at most 18 digits."""
    await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=0)
    with pytest.raises(InvalidInputError) as refused:
        await manager.list_history(ADA, "orders", "1", HistoryRequest(token=token(*OF_HISTORY, position)))
    assert [violation.pointer for violation in refused.value.violations] == ["/page_token"]


@pytest.mark.parametrize(
    "made_up", ["x", "\0", "é", "====", "e30", "W10", "WyJhIl0", token("states"), token(*OF_HISTORY, "1"), "a" * 9**7]
)
async def test_what_is_no_token_of_this_list_is_refused(manager, made_up):
    """Whatever it is: no failure, no page of something else."""
    with pytest.raises(InvalidInputError) as refused:
        await manager.list_states(ADA, "orders", ListRequest(token=made_up))
    assert [violation.pointer for violation in refused.value.violations] == ["/page_token"]
