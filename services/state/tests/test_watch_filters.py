"""Watches with filters: what comes to match is told, what matches no more is gone; over memory and over PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from stylobate.declarations.model import (
    AccessRule,
    FieldDeclaration,
    IndexDeclaration,
    IndexField,
    NamespaceAccess,
)
from stylobate.errors import InvalidInputError, PermissionDeniedError
from stylobate.rpc.call import NO_CAUSE
from stylobate.testing import FakeClock
from stylobate.testing.fixtures import DatabaseFor
from stylobate_state.errors import StateIndexNotReadyError, StateQueryNotIndexedError
from stylobate_state.filters import Filter
from stylobate_state.model import Change, StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.store.forgetting import Forgetting
from stylobate_state.store.postgres_forgetting import PostgresForgettingStore
from stylobate_state.watch import pages, watcher
from stylobate_state.watch.told import Gap, GapReason, about_of

from .samples import ADA, BOB, NOTES, OPEN, write
from .test_watch import MINE, Desk, desk, open_parts, settings

__all__ = ["desk", "open_parts", "settings"]

STATUS, TOTAL, OWNER = IndexField("status", "text"), IndexField("total", "number"), IndexField("owner", "text")
CREATED, UPDATED, CITY = IndexField("created_at", "time"), IndexField("updated_at", "time"), IndexField("address.city", "text")
INDEXES = (
    IndexDeclaration((TOTAL, CITY)),
    IndexDeclaration((STATUS, TOTAL)),
    IndexDeclaration((CITY,), statuses=("paid",)),
    *(IndexDeclaration((field,)) for field in (OWNER, CREATED, UPDATED)),
)
SHOP = replace(NOTES, name="shop", statuses=("new", "paid"), indexes=INDEXES)
ADMINS = AccessRule(("shop:admin",))
HIDDEN = replace(SHOP, name="hidden", fields=(FieldDeclaration("total", ADMINS, None),))
SHOWN = replace(SHOP, name="shown", access=replace(SHOP.access, show_owner=ADMINS))
OWNED = replace(SHOP, name="owned", access=NamespaceAccess(read=MINE, list=MINE, create=OPEN, write=OPEN, delete=OPEN))
READ_OWN = replace(SHOP, name="read-own", access=NamespaceAccess(read=MINE, list=OPEN, create=OPEN, write=OPEN, delete=OPEN))
BOUND = {one.name: Namespace.of(one, [], max_data_bytes=10_000) for one in (SHOP, HIDDEN, SHOWN, OWNED, READ_OWN)}
MUCH = [Filter("total", "gte", ("100",))]


@pytest.fixture
def namespaces() -> dict[str, Namespace]:
    """Give those with indexes."""
    return BOUND


@pytest_asyncio.fixture
async def shop(desk: Desk) -> Desk:
    """Give a desk whose indexes are kept from the beginning."""
    await desk.store.declare([index for namespace in BOUND.values() for index in namespace.indexes])
    return desk


async def put(desk: Desk, key: str, data: str = "", *, namespace: str = "shop", known: bool = True, **changes: Any) -> None:
    """Write to an object, as a process does that knows of the indexes, or one that does not."""
    at = StateKey("default", namespace, key)
    present = (await desk.store.read([at])).get(at)
    live = present is not None and not present.is_deleted
    owner = changes.pop("owner", present.owner if present is not None and live else "ada")
    content = b"null" if changes.get("change") is Change.DELETED else data.encode() if data or present is None else present.data
    beside = BOUND[namespace].beside(NO_CAUSE) if known else None
    expected = present.version if present is not None and live else 0
    (outcome,) = await desk.store.write([write(at, expected, content, owner=owner, beside=beside, **changes)])
    assert outcome.version
    await desk.number()


async def test_what_comes_to_match_is_told_and_what_matches_no_more_is_gone(shop: Desk) -> None:
    """By a field of the data; what never matched is not spoken of, whatever happens to it."""
    await put(shop, "a", '{"total": 100}')
    await put(shop, "b", '{"total": 99.5}')
    watch = shop.watch(namespace="shop", filters=MUCH)
    assert await watch.snapshot() == {"a": 1}
    await put(shop, "b", '{"total": 99}')
    await put(shop, "b", '{"total": 1e3}')
    await put(shop, "b", '{"total": 101}')
    await put(shop, "b", '{"total": "101"}')
    await put(shop, "b", "{}")
    assert [await watch.change() for _ in range(3)] == [("b", 3, "updated"), ("b", 4, "updated"), ("b", 5, "gone")]
    await put(shop, "c", '{"total": 7}')
    await put(shop, "c", change=Change.DELETED)
    await put(shop, "c", '{"total": 700}')
    await put(shop, "c", change=Change.DELETED)
    await put(shop, "c", '{"total": 7}')
    await put(shop, "c", '{"total": 800}', change=Change.MIGRATED)
    told = [("c", 3, "created"), ("c", 4, "deleted"), ("c", 6, "migrated")]
    assert [await watch.change() for _ in range(3)] == told


async def test_every_condition_must_hold(shop: Desk) -> None:
    """Of status and a field, by an index over one status too; ranges, prefixes, lists and values that are not there."""
    paid = {"change": Change.TRANSITIONED, "event": "pay", "from_status": "new", "status": "paid"}
    both = shop.watch(namespace="shop", filters=[*MUCH, Filter("status", "eq", ("paid",))])
    part = shop.watch(namespace="shop", filters=[Filter("address.city", "prefix", ("Zü",)), Filter("status", "eq", ("paid",))])
    none = shop.watch(namespace="shop", filters=[Filter("total", "exists", ("false",))])
    some = shop.watch(namespace="shop", filters=[Filter("total", "in", ("7", "100.0")), Filter("address.city", "gt", ("B",))])
    for watch in (both, part, none, some):
        assert await watch.snapshot() == {}
    await put(shop, "a", '{"total": 100, "address": {"city": "Zürich"}}', status="new")
    assert await some.change() == ("a", 1, "created")
    await put(shop, "a", **paid)
    assert [await one.change() for one in (both, part, some)] == [("a", 2, kind) for kind in ("transitioned",) * 3]
    await put(shop, "a", '{"total": 7, "address": {"city": "Bern"}}')
    assert [await one.change() for one in (both, part, some)] == [("a", 3, "gone"), ("a", 3, "gone"), ("a", 3, "updated")]
    await put(shop, "a", '{"total": null, "address": {"city": "B"}}')
    assert [await one.change() for one in (none, some)] == [("a", 4, "updated"), ("a", 4, "gone")]
    await put(shop, "a", '{"total": 100, "address": {"city": "Zug"}}')
    assert [await one.change() for one in (both, none, some)] == [("a", 5, "updated"), ("a", 5, "gone"), ("a", 5, "updated")]


async def test_what_the_object_itself_has_is_followed_too(shop: Desk) -> None:
    """Owner and times, which no event tells of; `migrated` keeps the time that it finds."""
    await put(shop, "old", "{}")
    (old,) = (await shop.store.read([StateKey("default", "shop", "old")])).values()
    if isinstance(getattr(shop.store, "clock", None), FakeClock):
        shop.store.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
    after = (old.created_at + timedelta(microseconds=1)).isoformat()
    his = shop.watch(namespace="shop", filters=[Filter("owner", "eq", ("bob",))])
    new = shop.watch(namespace="shop", filters=[Filter("created_at", "gte", (after,))])
    changed = shop.watch(namespace="shop", filters=[Filter("updated_at", "gte", (after,))])
    for watch in (his, new, changed):
        assert await watch.snapshot() == {}
    await put(shop, "old", '{"total": 1}', change=Change.MIGRATED)
    await put(shop, "old", change=Change.ASSIGNED, owner="bob")
    await put(shop, "old", '{"total": 2}')
    assert [await changed.change() for _ in range(2)] == [("old", 2 + n, kind) for n, kind in ((1, "assigned"), (2, "updated"))]
    assert [await his.change() for _ in range(2)] == [("old", 3, "assigned"), ("old", 4, "updated")]
    await put(shop, "old", change=Change.ASSIGNED, owner="ada")
    assert await his.change() == ("old", 5, "gone")
    await put(shop, "old", change=Change.DELETED)
    await put(shop, "old", "{}")
    assert await new.change() == ("old", 7, "created")


async def test_who_comes_back_goes_on_and_positions_name_the_filters(shop: Desk) -> None:
    """In whatever order these are sent; the positions of watches without any are those that they always were."""
    twice = [Filter("total", "in", ("100", "200")), Filter("address.city", "eq", ("Bern",))]
    await put(shop, "a", '{"total": 100, "address": {"city": "Bern"}}')
    watch = shop.watch(namespace="shop", filters=twice)
    assert await watch.snapshot() == {"a": 1}
    await watch.close()
    await put(shop, "a", "{}")
    await put(shop, "b", '{"total": 200, "address": {"city": "Bern"}}')
    again = shop.watch(namespace="shop", filters=twice[::-1], position=watch.position)
    assert sorted([await again.change() for _ in range(2)]) == [("a", 2, "gone"), ("b", 1, "created")]
    for other in ({"filters": MUCH}, {}):
        asked = shop.watch(namespace="shop", position=watch.position, **other)
        assert await asked.next() == Gap(GapReason.OTHER_WATCH)
        assert await asked.snapshot() == {"b": 1} | ({} if other else {"a": 2})
    assert about_of("shop", "", "") == about_of("shop", "", "", ()) == "a2826d45"


async def test_an_index_that_is_not_ready_is_said_before_anything(desk: Desk) -> None:
    """With a gap or without; when it is ready the same watch opens. Nobody sees how far it is who sees but the own."""
    await put(desk, "a", '{"total": 100}', known=False)
    await desk.store.declare(BOUND["shop"].indexes)
    with pytest.raises(StateIndexNotReadyError):
        await desk.watch(namespace="shop", filters=MUCH).next()
    plain = desk.watch(namespace="shop")
    await plain.snapshot()
    with pytest.raises(StateIndexNotReadyError):
        await desk.watch(namespace="shop", filters=MUCH, position=plain.position).next()
    while await desk.store.build(100):
        pass
    watch = desk.watch(namespace="shop", filters=MUCH, position=plain.position)
    assert await watch.next() == Gap(GapReason.OTHER_WATCH)
    assert await watch.snapshot() == {"a": 1}


async def test_what_an_earlier_release_writes_is_followed_as_well(shop: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of what was: what does not match leaves, shown or not. What an object itself has it does not say: a gap."""
    monkeypatch.setattr(watcher, "_UNKNOWN_EVERY_S", 0.0)
    await put(shop, "a", '{"total": 100}')
    watch = shop.watch(namespace="shop", filters=MUCH)
    hers = shop.watch(namespace="shop", filters=[Filter("owner", "eq", ("ada",))])
    for one in (watch, hers):
        assert await one.snapshot() == {"a": 1}
    await put(shop, "b", '{"total": 7}', known=False)
    await put(shop, "b", '{"total": 8}', known=False)
    await put(shop, "a", '{"total": 200}', known=False)
    await put(shop, "a", '{"total": 2}', known=False)
    told = [await watch.change() for _ in range(3)]
    assert [one for one in told if one[0] == "b"] == [("b", 2, "gone")]
    assert [one for one in told if one[0] == "a"] == [("a", 2, "updated"), ("a", 3, "gone")]
    assert await hers.next() == Gap(GapReason.FIELDS_UNKNOWN)
    assert await hers.snapshot() == {"a": 3, "b": 2}
    await put(shop, "b")
    assert await hers.change() == ("b", 3, "updated")


async def test_such_gaps_do_not_follow_one_another(shop: Desk) -> None:
    """A snapshot for each write of an earlier release would be worse than a pause."""
    hers = shop.watch(namespace="shop", filters=[Filter("owner", "eq", ("ada",))])
    assert await hers.snapshot() == {}
    await put(shop, "a", "{}", known=False)
    assert await hers.next() == Gap(GapReason.FIELDS_UNKNOWN)
    assert await hers.snapshot() == {"a": 1}
    await put(shop, "a", known=False)
    following = asyncio.create_task(hers.next())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not following.done()
    following.cancel()


async def test_a_filter_is_of_what_its_caller_sees(shop: Desk) -> None:
    """A hidden field is no field, from the moment on at which it is hidden; unknown owners are for who is shown owners."""
    await put(shop, "a", '{"total": 100}', namespace="hidden")
    with pytest.raises(InvalidInputError) as refused:
        await shop.watch(namespace="hidden", filters=MUCH).next()
    assert refused.value.violations[0].pointer == "/filter/total"
    shop.grants.by_subject["ada"] = {"shop:admin"}
    watch = shop.watch(namespace="hidden", filters=MUCH)
    assert await watch.snapshot() == {"a": 1}
    shop.grants.by_subject.clear()
    await put(shop, "a", '{"total": 1}', namespace="hidden")
    with pytest.raises(InvalidInputError):
        await watch.next()
    seeking = [Filter("owner", "prefix", ("a",))]
    with pytest.raises(PermissionDeniedError):
        await shop.watch(BOB, "shown", filters=seeking).next()
    shop.grants.by_subject["bob"] = {"shop:admin"}
    watch = shop.watch(BOB, "shown", filters=seeking)
    assert await watch.snapshot() == {}
    shop.grants.by_subject.clear()
    await put(shop, "a", "{}", namespace="shown")
    with pytest.raises(PermissionDeniedError):
        await watch.next()


async def test_whose_rights_are_its_own_objects_hears_of_these(shop: Desk) -> None:
    """The same holds where everybody may list: the index has no owners there."""
    for name in ("owned", "read-own"):
        await put(shop, "a", '{"total": 100}', namespace=name)
        await put(shop, "b", '{"total": 100}', namespace=name, owner="bob")
        watch = shop.watch(ADA, name, filters=MUCH)
        assert await watch.snapshot() == {"a": 1}
        await put(shop, "b", '{"total": 200}', namespace=name)
        await put(shop, "b", '{"total": 200}', namespace=name, change=Change.ASSIGNED, owner="ada")
        await put(shop, "a", '{"total": 1}', namespace=name)
        told = sorted([await watch.change() for _ in range(2)])
        assert told == [("a", 2, "gone"), ("b", 3, "assigned")]
        await put(shop, "a", change=Change.ASSIGNED, namespace=name, owner="bob")
        await put(shop, "b", change=Change.ASSIGNED, namespace=name, owner="bob")
        assert await watch.change() == ("b", 4, "gone")


async def test_a_snapshot_has_as_many_parts_as_it_takes(shop: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the index; several ranges at once."""
    monkeypatch.setattr(pages, "_PART", 2)
    for number in range(7):
        await put(shop, f"k{number}", f'{{"total": {number // 2}}}')
    watch = shop.watch(namespace="shop", filters=[Filter("total", "in", ("0", "2", "3", "9"))])
    assert list(await watch.snapshot()) == ["k0", "k1", "k4", "k5", "k6"]


@pytest.mark.parametrize("open_parts", ["postgres"], indirect=True)
async def test_what_was_forgotten_meanwhile_is_a_gap(shop: Desk, database_for: DatabaseFor) -> None:
    """Of a change without its data nobody can say whether it matched; the one behind it says nothing of what was."""
    await put(shop, "a", '{"total": 100}')
    watch = shop.watch(namespace="shop", filters=MUCH)
    await watch.snapshot()
    await watch.close()
    for number in range(3):
        await put(shop, "a", f'{{"total": {number}}}')
    await PostgresForgettingStore(await database_for("state")).forget(Forgetting("shop", timedelta(), 1), 100)
    back = shop.watch(namespace="shop", filters=MUCH, position=watch.position)
    assert await back.next() == Gap(GapReason.POSITION_EXPIRED)
    assert await back.snapshot() == {}
    await put(shop, "a", '{"total": 500}')
    assert await back.change() == ("a", 5, "updated")


REFUSED = [
    ({"filters": MUCH, "key": "a"}, "/filter"),
    ({"filters": MUCH, "status": "paid"}, "/status"),
    ({"filters": [Filter("colour", "eq", ("red",))]}, "/filter/colour"),
    ({"filters": [Filter("total", "gte", ("much",))]}, "/filter/total/gte"),
    ({"filters": [Filter("total", "like", ("1",))]}, "/filter/total/like"),
    ({"filters": [Filter("total", "gt", ("2",)), Filter("total", "lt", ("1",))]}, "/filter/total"),
]


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
async def test_what_is_no_filter_is_refused_in_its_place(shop: Desk) -> None:
    """And what no index answers."""
    for options, place in REFUSED:
        with pytest.raises(InvalidInputError) as refused:
            await shop.watch(namespace="shop", **options).next()
        assert refused.value.violations[0].pointer == place
    with pytest.raises(StateQueryNotIndexedError):
        await shop.watch(namespace="shop", filters=[*MUCH, Filter("owner", "eq", ("ada",))]).next()
