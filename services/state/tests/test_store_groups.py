"""What every durable store does with writes that happen together; test_any_store_contract.py says what each does."""

import asyncio
import random

import pytest
from stylobate.declarations.model import IndexField
from stylobate_state.index import Index
from stylobate_state.model import NotUnique, Refused, StateKey, Withheld, Written, grouped

from .samples import write
from .test_any_store_contract import claim, versions

A, B, C, D = (StateKey("default", "orders", name) for name in "abcd")
EMAIL = Index("orders", (IndexField("email", "text"),), is_unique=True)


def test_what_happens_together_is_next_to_each_other():
    """Writes without a group stand alone; a group ends where another begins."""
    writes = [write(A, 0), write(B, 0), write(C, 0, group=7), write(D, 0, group=7), write(A, 0, group=8), write(B, 0)]
    assert [len(group) for group in grouped(writes)] == [1, 1, 2, 1, 1]
    assert grouped([]) == []


@pytest.mark.parametrize("has_claims", [False, True])
async def test_groups_that_create_the_same_objects_at_once(open_store, has_claims):
    """Groups that insert the same keys in opposite orders are there whole or not at all, and nobody waits in a circle."""
    stores = [await open_store() for _ in range(3)]
    for number, store in enumerate(stores):  # each knows what it has to know before all of its connections are in use
        await store.write([write(StateKey("default", "orders", f"first{number}"), 0)])
    keys = [StateKey("default", "orders", f"n{number:02}") for number in range(12)]

    async def insert(number: int):
        chosen = random.Random(number).sample(keys, 4)
        group = [write(key, 0, owner=f"g{number}", group=number) for key in chosen]
        if has_claims:
            group[0] = write(chosen[0], 0, owner=f"g{number}", group=number, claim=claim(f"g{number}"))
        alone = write(StateKey("default", "orders", f"n{number % 12:02}"), 0, owner=f"s{number}")
        batch = [*group, alone] if alone.key not in chosen else group
        outcomes = await stores[number % 3].write(batch)
        return f"g{number}", chosen, outcomes[:4]

    async with asyncio.timeout(60):
        done = await asyncio.gather(*map(insert, range(1, 37)))
    owners = {key: state.owner for key, state in (await stores[0].read(keys)).items()}
    for owner, chosen, outcomes in done:
        is_written = [isinstance(outcome, Written) for outcome in outcomes]
        assert all(is_written) or not any(is_written)
        assert [owners.get(key) == owner for key in chosen] == is_written
    assert sum(isinstance(outcome, Written) for _, _, outcomes in done for outcome in outcomes) >= 4


async def test_a_unique_index_refuses_a_group_whole(store):
    """What another object has, or another of the same group wants, is refused by name; nothing of the group is written."""
    await store.declare([EMAIL])
    await store.write([_mail(A, "a@x")])
    taken = [_mail(B, "b@x", group=1), _mail(C, "a@x", group=1)]
    assert await store.write([*taken, _mail(D, "d@x")]) == [Withheld(), NotUnique(EMAIL, A), ANY_WRITTEN]
    twice = [_mail(B, "b@x", group=2), _mail(C, "b@x", group=2)]
    assert await store.write(twice) == [Withheld(), NotUnique(EMAIL, B)]
    assert await versions(store, A, B, C, D) == [1, 0, 0, 1]
    assert await store.write([_mail(B, "b@x", group=3), _mail(C, "c@x", group=3)]) == [ANY_WRITTEN] * 2


async def test_a_group_comes_after_what_wants_the_same_before_it(store):
    """In one batch the first to ask for a value has it; a group behind it is refused, or written once the first was not."""
    await store.declare([EMAIL])
    await store.write([_mail(A, "a@x")])
    batch = [_mail(B, "v@x"), _mail(C, "c@x", group=1), _mail(D, "v@x", group=1)]
    assert await store.write(batch) == [ANY_WRITTEN, Withheld(), NotUnique(EMAIL, B)]
    held = [_mail(A, "w@x", expected=9, group=2), _mail(C, "w@x", group=2), _mail(D, "w@x", group=3)]
    outcomes = await store.write(held)
    assert outcomes[0] == Refused(1)
    assert outcomes[2] == ANY_WRITTEN
    assert await versions(store, A, B, C, D) == [1, 1, 0, 1]


def _mail(key, address, expected=0, **changes):
    return write(key, expected, f'{{"email": "{address}"}}'.encode(), **changes)


class _AnyWritten:
    """Equals whatever was written."""

    __hash__ = None

    def __eq__(self, other):
        """Whether it was written."""
        return isinstance(other, Written)


ANY_WRITTEN = _AnyWritten()
