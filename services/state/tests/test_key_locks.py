"""Turns at a key."""

import asyncio

from stylobate_state.key_locks import KeyLocks


async def _begun(locks, keys, done, name):
    async def hold():
        async with locks.hold(keys):
            done.append(name)

    task = asyncio.create_task(hold())
    await asyncio.sleep(0)
    return task


async def test_a_key_goes_from_hand_to_hand_in_the_order_of_arrival():
    """Each waits for those before it, and nothing is kept of a key that nobody holds."""
    locks, done = KeyLocks(), []
    async with locks.hold(["a"]):
        tasks = [await _begun(locks, ["a"], done, number) for number in range(3)]
        await (await _begun(locks, ["b"], done, "other"))
        assert done == ["other"]
        assert len(locks) == 1
    await asyncio.gather(*tasks)
    assert done == ["other", 0, 1, 2]
    assert len(locks) == 0


async def test_one_that_goes_away_while_it_waits_holds_up_nobody():
    """Its place in the line is passed over, and the keys that it held already are let go."""
    locks, done = KeyLocks(), []
    async with locks.hold(["b"]):
        gone = await _begun(locks, ["a", "b"], done, "gone")
        behind = await _begun(locks, ["a"], done, "behind")
        gone.cancel()
        await behind
    assert done == ["behind"]
    assert len(locks) == 0


async def test_one_that_goes_away_as_its_turn_comes_hands_it_on():
    """A turn that was given to a caller who is cancelled at the same moment is not lost."""
    locks, done = KeyLocks(), []
    async with locks.hold(["a"]):
        gone = await _begun(locks, ["a"], done, "gone")
        behind = await _begun(locks, ["a"], done, "behind")
    gone.cancel()
    await behind
    assert done == ["behind"]
    assert len(locks) == 0
