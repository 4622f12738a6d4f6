"""Lists from a secondary of a set of three: what they lag, and who answers for one that is away."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from stylobate.database.manager import Limits
from stylobate.database.mongodb import MongoManager, MongoMigrator
from stylobate.declarations.model import IndexField
from stylobate.idempotency.mongodb import MongoIdempotencyLedger
from stylobate.launcher.embedded import EmbeddedServerError
from stylobate.testing.mongo_set import MongoSet
from stylobate.testing.until import until
from stylobate_state.index import Index
from stylobate_state.index_encoding import BEYOND
from stylobate_state.model import ByteRange, IndexQuery, ListQuery, StateKey
from stylobate_state.store.mongodb import MongoStateStore
from stylobate_state.store.part import Part

from .conftest import MIGRATION_SETS
from .samples import write

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

NUMBER = Index("orders", (IndexField("n", "number"),))
EVERYTHING = (ByteRange(b"", BEYOND, 0),)
_LIMITS = Limits(timedelta(seconds=3), timedelta(seconds=3), timedelta(seconds=3))


@pytest.fixture
def mongo_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoSet]:
    """Give a set of three."""
    try:
        MongoSet(tmp_path_factory.mktemp("none"), election_timeout=timedelta(seconds=30))
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    with MongoSet.run(tmp_path_factory.mktemp("set"), election_timeout=timedelta(seconds=30)) as running:
        yield running


async def listed(store: MongoStateStore, *, may_lag: bool) -> list[str]:
    """Return the keys that a list, an index, and an index sorted by another field find; none where they differ.

    Of two secondaries each may be asked in turn, so what was there a moment ago may not be there now.
    """
    plain = await store.list_states(ListQuery("default", "orders", 50, may_lag=may_lag))
    answers = [[state.key.key for state in plain.items]]
    for order in (None, IndexField("created_at", "time")):
        found = await store.query(IndexQuery("default", NUMBER, EVERYTHING, 50, may_lag=may_lag, order=order))
        assert isinstance(found, Part)
        answers.append(sorted(item.state.key.key for item in found.items))
    count = await store.count(ListQuery("default", "orders", 50, may_lag=may_lag))
    return answers[0] if all(one == answers[0] for one in answers) and count == len(answers[0]) else []


async def test_lists_may_come_from_a_secondary(mongo_set: MongoSet) -> None:
    """Who allows it reads what a secondary has; it lags, hangs, or is gone: each has its answer, and it is whole."""
    await MongoMigrator(mongo_set.url, "state", MIGRATION_SETS).upgrade()
    async with MongoManager.open(mongo_set.url, service="state", limits=_LIMITS) as database:
        store = MongoStateStore(database, MongoIdempotencyLedger(database))
        await store.declare([NUMBER])
        await store.write([write(StateKey("default", "orders", "1"), 0, b'{"n": 1}')])
        await until(lambda: listed(store, may_lag=True), lambda keys: keys == ["1"], within_s=20)
        primary = mongo_set.primary()
        slow, quick = [member for member in mongo_set.members if member != primary]
        await asyncio.to_thread(mongo_set.lag, slow, lags=True)
        await store.write([write(StateKey("default", "orders", "2"), 0, b'{"n": 1}')])  # by the other two
        await until(lambda: listed(store, may_lag=True), lambda keys: keys == ["1", "2"], within_s=30)  # of the quick one
        mongo_set.kill(quick)
        await until(lambda: listed(store, may_lag=True), lambda keys: keys == ["1"], within_s=30)  # of the slow one
        assert await listed(store, may_lag=False) == ["1", "2"]
        await asyncio.to_thread(mongo_set.lag, slow, lags=False)
        await until(lambda: listed(store, may_lag=True), lambda keys: keys == ["1", "2"], within_s=30)
        mongo_set.freeze(slow, freezes=True)  # it is asked, and does not answer: the primary does
        try:
            for _ in range(3):
                assert await listed(store, may_lag=True) == ["1", "2"]
        finally:
            mongo_set.freeze(slow, freezes=False)
        mongo_set.kill(slow)
        mongo_set.start(quick)
        await until(lambda: listed(store, may_lag=True), lambda keys: keys == ["1", "2"], within_s=60)
