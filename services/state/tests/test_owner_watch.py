"""Watches of objects that are handed over: whose it was hears that it is gone, whose it is hears the object."""

from stylobate_state.model import Change, StateKey

from .samples import ADA, BOB, write
from .test_watch import Desk, desk, namespaces, open_parts, settings

__all__ = ["desk", "namespaces", "open_parts", "settings"]


async def hand_over(desk: Desk, key: str, owner: str, namespace: str = "owned") -> None:
    """Give an object to somebody."""
    at = StateKey("default", namespace, key)
    version = (await desk.store.read([at]))[at].version
    await desk.store.write([write(at, version, b'{"n": 0}', change=Change.ASSIGNED, owner=owner, actor="root")])
    await desk.number()


async def test_the_former_owner_hears_gone_and_the_new_one_the_object(desk: Desk) -> None:
    """In a namespace and at a key; nothing of what happens afterwards is told to who gave it away, be it a deletion."""
    await desk.write("a", namespace="owned")
    hers, his = desk.watch(ADA, "owned"), desk.watch(BOB, "owned")
    at_key, his_key = desk.watch(ADA, "owned", "a"), desk.watch(BOB, "owned", "a")
    for watch, seen in ((hers, {"a": 1}), (his, {}), (at_key, {"a": 1}), (his_key, {})):
        assert await watch.snapshot() == seen
    await hand_over(desk, "a", "bob")
    await desk.write("a", namespace="owned", owner="bob")
    await desk.write("a", namespace="owned", owner="bob", change=Change.DELETED)
    for watch in (his, his_key):
        assert [await watch.change() for _ in range(3)] == [("a", 2, "assigned"), ("a", 3, "updated"), ("a", 4, "deleted")]
    await desk.write("b", namespace="owned")
    await desk.write("a", namespace="owned")
    told = [await hers.change() for _ in range(3)]
    assert [one for one in told if one[0] == "a"] == [("a", 2, "gone"), ("a", 5, "created")]
    assert [await at_key.change() for _ in range(2)] == [("a", 2, "gone"), ("a", 5, "created")]


async def test_a_watch_that_comes_back_is_told_of_the_hand_over(desk: Desk) -> None:
    """From the last position on: given away, taken back and given away again while nobody watched."""
    await desk.write("a", namespace="owned")
    watch = desk.watch(ADA, "owned")
    await watch.snapshot()
    await watch.close()
    for owner in ("bob", "ada", "bob"):
        await hand_over(desk, "a", owner)
    again = desk.watch(ADA, "owned", position=watch.position)
    assert [await again.change() for _ in range(2)] == [("a", 2, "gone"), ("a", 4, "gone")]


async def test_ids_are_told_to_those_whom_they_concern(desk: Desk) -> None:
    """Who reads what is open to everybody is shown the ids that are one's own."""
    await desk.write("a", actor="root")
    watch = desk.watch(BOB)
    (shown,) = (await watch.next()).states
    assert shown.owner == ""
    await hand_over(desk, "a", "bob", "open")
    told = (await watch.next()).entry
    assert (told.change, told.actor, told.owner, told.previous_owner) == ("assigned", "", "bob", "")
