"""Many writers, several processes' worth of batchers: nothing is lost, nothing happens twice, nobody waits forever."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from stylobate.batching import Batcher
from stylobate_state.errors import StateDataInvalidError
from stylobate_state.model import HistoryQuery, Refused, StateKey, Written

from .samples import deletion, write

KEYS = [StateKey("default", "orders", f"k{number}") for number in range(12)]


@pytest.fixture
async def processes(open_store):
    """Give three stores on the same data, each with a batcher as the service has it, and what their statements raised."""
    raised: list[Exception] = []
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(3):
            store = await open_store()

            async def flush(batch, store=store):
                try:
                    return await store.write(batch)
                except Exception as error:
                    raised.append(error)
                    raise

            made.append((store, await stack.enter_async_context(Batcher(flush, keys=lambda one: (one.key,)))))
        yield made, raised


async def version_at(store, key):
    """Return the version of what is alive there, else 0."""
    state = (await store.read([key])).get(key)
    return 0 if state is None or state.is_deleted else state.version


async def test_wins_are_versions_are_events(processes):
    """Under contention each win returns exactly the version after the expected one, and has one event; none is missing."""
    made, raised = processes
    wins: list[tuple[StateKey, int, str]] = []

    async def caller(number):
        dice = random.Random(number)
        store, batcher = made[number % len(made)]
        for _ in range(12):
            key = dice.choice(KEYS)
            expected = await version_at(store, key)
            is_deletion = expected > 0 and dice.random() < 0.2
            one = deletion(key, expected) if is_deletion else write(key, expected)
            outcome = await batcher.submit(one)
            if isinstance(outcome, Written):
                assert not expected or outcome.version == expected + 1
                wins.append((key, outcome.version, one.event_id))

    async with asyncio.timeout(60):
        await asyncio.gather(*map(caller, range(24)))
    assert raised == []
    store = made[0][0]
    for key in KEYS:
        entries = (await store.list_history(HistoryQuery(key, 1000))).items
        assert [entry.version for entry in entries] == list(range(len(entries), 0, -1))
        assert (await store.read([key]))[key].version == len(entries)
        assert {(key, e.version, e.event_id) for e in entries} == {win for win in wins if win[0] == key}
    assert len(wins) > len(KEYS)


async def test_one_of_many_creations_wins(processes):
    """When everybody creates the same keys at once each key has one creator, and it is the one that was told so."""
    made, raised = processes

    async def create(key, number):
        _, batcher = made[number % len(made)]
        return number, await batcher.submit(write(key, 0, owner=f"u{number}"))

    for key in KEYS:
        outcomes = await asyncio.gather(*(create(key, number) for number in range(9)))
        winners = [number for number, outcome in outcomes if isinstance(outcome, Written)]
        assert len(winners) == 1
        assert all(outcome in {Refused(1), Refused(None)} for number, outcome in outcomes if number not in winners)
        assert (await made[0][0].read([key]))[key].owner == f"u{winners[0]}"
    assert raised == []


async def test_batches_in_opposite_orders_do_not_block_each_other(processes):
    """Whatever the order inside each batch, locks are taken in one order: no deadlock, every write happens."""
    made, _ = processes
    keys = [StateKey("default", "orders", f"m{number:03}") for number in range(100)]
    present = set(keys[::2])  # the other half is inserted meanwhile
    await made[0][0].write([write(key, 0) for key in present])

    async def shuffled(number):
        store, _ = made[number % len(made)]
        order = random.Random(number).sample(keys, len(keys))
        return await store.write([write(key, None if key in present else 0) for key in order])

    async with asyncio.timeout(60):
        rounds = await asyncio.gather(*map(shuffled, range(16)))
    written = sum(isinstance(outcome, Written) for outcomes in rounds for outcome in outcomes)
    assert written == 16 * len(present) + len(keys) - len(present)


async def test_one_bad_row_never_fails_its_neighbours(processes):
    """In a batch with a row that cannot be kept all others are written, and only its caller is told."""
    made, raised = processes
    store, batcher = made[0]
    broken = KEYS[3]
    submitted = [batcher.submit(write(key, 0, b'{"' if key == broken else b"{}")) for key in KEYS]
    outcomes = await asyncio.gather(*submitted, return_exceptions=True)
    assert [isinstance(outcome, Written) for outcome in outcomes] == [key != broken for key in KEYS]
    assert isinstance(outcomes[3], StateDataInvalidError)
    assert len(raised) == 2  # the batch, then the row alone
    assert set(await store.read(KEYS)) == set(KEYS) - {broken}
