"""Watches: a snapshot, then every change once and in order, to whom it may be told; over memory and over PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import Ban, WatchBansResponse
from stylobate.clients.bans import BanList, BannedError
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, NamespaceAccess
from stylobate.errors import PermissionDeniedError, TokenExpiredError, TokenRevokedError, UnauthenticatedError, UnavailableError
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal
from stylobate.outbox import partition_of
from stylobate.outbox.errors import PositionInvalidError
from stylobate.outbox.memory import MemoryEventLog
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering
from stylobate.testing import FakeClock
from stylobate.testing.fixtures import DatabaseFor
from stylobate_state.errors import StateNamespaceUnknownError, StateTooManyWatchesError, StateWatchesFullError
from stylobate_state.model import Change, StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.settings import StateSettings
from stylobate_state.store.forgetting import Forgetting
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.postgres_forgetting import PostgresForgettingStore
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.told import Changed, Gap, GapReason, Place, Snapshot
from stylobate_state.watch.watch_manager import WatchEnvironment, WatchManager

from .conftest import MIGRATION_SETS, Grants
from .samples import ADA, ANONYMOUS, BOB, NOTES, ORDERS, write

MINE = AccessRule(("owner",))
OPEN = replace(NOTES, name="open")
OWNED = replace(NOTES, name="owned", access=NamespaceAccess(read=MINE, list=MINE, create=MINE, write=MINE, delete=MINE))
NAMESPACES = {one.name: Namespace.of(one, [], max_data_bytes=10_000) for one in (OPEN, OWNED, ORDERS)}


@dataclass
class Desk:
    """The parts below a WatchManager, with which a test decides when what was written gets its numbers."""

    store: StateStore
    log: Any
    numbering: Any
    feed: Feed
    watches: WatchManager
    grants: Grants
    bans: BanList
    revoked: set[str] = field(default_factory=set)
    now: float = 0.0

    async def write(self, key: str, *, namespace: str = "open", numbered: bool = True, **changes: Any) -> int:
        """Write to an object what its version says, or what is given; return the version."""
        at = StateKey("default", namespace, key)
        present = (await self.store.read([at])).get(at)
        live = present is not None and not present.is_deleted
        is_deletion = changes.get("change") is Change.DELETED
        data = b"null" if is_deletion else b'{"n": %d}' % (present.version + 1 if present else 1)
        (outcome,) = await self.store.write([write(at, None if live else 0, data, **changes)])
        if numbered:
            await self.number()
        return outcome.version

    async def number(self) -> None:
        """Give what was written its numbers, and bring it."""
        self.feed.offer(await self.numbering.number(1) or ())

    def watch(self, who: Principal = ADA, namespace: str = "open", key: str = "", **options: Any) -> "Watch":
        """Open a watch."""
        return Watch(self.watches.watch(who, "192.0.2.7", namespace, key, **options))


class Watch:
    """What a caller has of it."""

    def __init__(self, telling: Any) -> None:
        self.telling = telling
        self.position = ""

    async def next(self) -> Any:
        """Return what is told next, signs of life left out."""
        while True:
            position, told = await asyncio.wait_for(anext(self.telling), 20)
            self.position = position or self.position
            if told is not None:
                return told

    async def snapshot(self) -> dict[str, int]:
        """Return the versions by key that the next messages show."""
        found: dict[str, int] = {}
        is_complete, parts = False, 0
        while not is_complete:
            told = await self.next()
            assert isinstance(told, Snapshot), told
            found |= {state.key.key: state.version for state in told.states}
            is_complete, parts = told.is_complete, parts + 1
            assert told.part == parts
        return found

    async def change(self) -> tuple[str, int, str]:
        """Return key, version and change that are told next."""
        told = await self.next()
        assert isinstance(told, Changed), told
        return told.key.key, told.version, "gone" if told.entry is None else told.entry.change.value

    async def close(self) -> None:
        """Go away."""
        await self.telling.aclose()


Parts = tuple[StateStore, Any, Any]


@pytest.fixture(params=["memory", "postgres"])
def open_parts(request: pytest.FixtureRequest) -> Callable[[], Awaitable[Parts]]:
    """Give what opens store, log and numbering of each adapter in turn."""
    database_for: DatabaseFor | None = None if request.param == "memory" else request.getfixturevalue("database_for")

    async def opened() -> Parts:
        if database_for is None:
            log = MemoryEventLog("state", FakeClock())
            return MemoryStateStore(FakeClock(), log), log, log
        database = await database_for("state", *MIGRATION_SETS)
        store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
        return store, PostgresEventLog(database, "state"), PostgresNumbering(database, "state")

    return opened


@pytest.fixture
def settings() -> StateSettings:
    """Give the defaults, unless a test has its own."""
    return StateSettings()


@pytest.fixture
def namespaces() -> dict[str, Namespace]:
    """Give these, unless a test has its own."""
    return NAMESPACES


@pytest_asyncio.fixture
async def desk(
    open_parts: Callable[[], Awaitable[Parts]], grants: Grants, settings: StateSettings, namespaces: dict[str, Namespace]
) -> AsyncIterator[Desk]:
    """Give the parts of each adapter in turn."""
    store, log, numbering = await open_parts()
    await numbering.claim(1)
    feed, bans, access = Feed(log), BanList(), AccessEvaluator(grants)
    desk: Desk

    def is_revoked(principal: Principal) -> bool:
        return principal.id in desk.revoked

    environment = WatchEnvironment(log, feed, store, access, bans, is_revoked, lambda: desk.now)
    async with WatchManager.open(namespaces, environment, settings) as watches:
        desk = Desk(store, log, numbering, feed, watches, grants, bans)
        yield desk


async def test_an_object_is_told_as_it_stands_then_as_it_changes(desk: Desk) -> None:
    """Created, updated, deleted and created again: each once, in order, with its data; other keys are not told."""
    await desk.write("a")
    watch = desk.watch(key="a")
    assert await watch.snapshot() == {"a": 1}
    await desk.write("b")
    await desk.write("a")
    await desk.write("a", change=Change.DELETED)
    await desk.write("a")
    told = [await watch.next() for _ in range(3)]
    assert [(one.version, one.entry.change, one.entry.data) for one in told] == [
        (2, "updated", b'{"n": 2}'),
        (3, "deleted", b""),
        (4, "created", b'{"n": 4}'),
    ]


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
async def test_an_object_that_is_not_there_yet_is_waited_for(desk: Desk) -> None:
    """Its snapshot is empty, its creation a change."""
    watch = desk.watch(key="later")
    assert await watch.snapshot() == {}
    await desk.write("later")
    assert await watch.change() == ("later", 1, "created")


async def test_what_the_snapshot_shows_is_not_told_again(desk: Desk) -> None:
    """What was written before the snapshot and gets its number after it is passed over; what comes behind it is told."""
    await desk.write("a")
    await desk.write("a", numbered=False)
    await desk.write("b", numbered=False)
    await desk.write("c", numbered=False)
    await desk.write("c", numbered=False, change=Change.DELETED)
    watch = desk.watch()
    assert await watch.snapshot() == {"a": 2, "b": 1}
    await desk.write("b", numbered=False)
    await desk.number()
    assert sorted([await watch.change() for _ in range(3)]) == [("b", 2, "updated"), ("c", 1, "created"), ("c", 2, "deleted")]


async def test_who_comes_back_misses_nothing_and_hears_nothing_twice(desk: Desk) -> None:
    """From each position that was told, a later watch goes on with exactly what came behind it."""
    watch = desk.watch()
    await watch.snapshot()
    positions = [watch.position]
    for number in range(12):
        await desk.write(f"k{number % 5}")
        await watch.change()
        positions.append(watch.position)
    for start, position in enumerate(positions):
        again = desk.watch(position=position)
        heard = [await again.change() for _ in range(12 - start)]
        wanted = {(f"k{number % 5}", 1 + number // 5) for number in range(start, 12)}
        assert len(heard) == len(wanted)
        assert {(key, version) for key, version, _ in heard} == wanted
        for key in {key for key, _, _ in heard}:
            versions = [version for name, version, _ in heard if name == key]
            assert versions == sorted(versions)
        await again.close()


async def test_positions_of_other_watches_and_epochs_begin_anew(desk: Desk) -> None:
    """The gap is told, and a snapshot follows; what is no position is refused."""
    await desk.write("a")
    watch = desk.watch(key="a")
    await watch.snapshot()
    other = desk.watch(position=watch.position)
    assert await other.next() == Gap(GapReason.OTHER_WATCH)
    assert await other.snapshot() == {"a": 1}
    await desk.numbering.begin("again", "test")
    later = desk.watch(key="a", position=watch.position)
    assert await later.next() == Gap(GapReason.POSITION_EXPIRED)
    assert await later.snapshot() == {"a": 1}
    await desk.write("a")
    assert await later.change() == ("a", 2, "updated")
    with pytest.raises(PositionInvalidError):
        await desk.watch(position="1.0").next()


@pytest.mark.parametrize("open_parts", ["postgres"], indirect=True)
async def test_what_was_forgotten_meanwhile_is_a_gap(desk: Desk, database_for: DatabaseFor) -> None:
    """Who comes back to a change that lost its data hears so, and goes on from a snapshot; others hear nothing."""
    await desk.write("a")
    await desk.write("b")
    watches = [desk.watch(key=key) for key in ("a", "b")]
    for watch in watches:
        await watch.snapshot()
        await watch.close()
    for _ in range(3):
        await desk.write("a")
    await PostgresForgettingStore(await database_for("state")).forget(Forgetting("open", timedelta(), 1), 100)
    back = desk.watch(key="a", position=watches[0].position)
    assert await back.next() == Gap(GapReason.POSITION_EXPIRED)
    assert await back.snapshot() == {"a": 4}
    other = desk.watch(key="b", position=watches[1].position)
    for key in ("a", "b"):
        await desk.write(key)
    assert [await one.change() for one in (back, other)] == [("a", 5, "updated"), ("b", 2, "updated")]


async def test_a_log_that_is_taken_back_under_a_watch_is_a_gap(desk: Desk) -> None:
    """An epoch that begins while somebody watches: gap, snapshot, and on."""
    await desk.write("a")
    watch = desk.watch(key="a")
    await watch.snapshot()
    following = asyncio.create_task(watch.next())
    running = asyncio.create_task(desk.feed.run())
    await desk.numbering.begin("again", "test")
    assert await following == Gap(GapReason.POSITION_EXPIRED)
    assert await watch.snapshot() == {"a": 1}
    await desk.write("a")
    assert await watch.change() == ("a", 2, "updated")
    running.cancel()


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
async def test_a_status_is_followed_until_it_is_left(desk: Desk) -> None:
    """Who follows the pending orders hears of one that is paid that it is gone, and nothing after; others not at all."""
    desk.grants.by_subject["ada"] = {"orders:read"}
    await desk.write("one", namespace="orders", status="pending")
    await desk.write("two", namespace="orders", status="paid")
    watch = desk.watch(namespace="orders", status="pending")
    assert await watch.snapshot() == {"one": 1}
    pay = {"change": Change.TRANSITIONED, "event": "pay", "from_status": "pending", "status": "paid"}
    await desk.write("one", namespace="orders", **pay)
    await desk.write("one", namespace="orders")
    await desk.write("two", namespace="orders")
    await desk.write("three", namespace="orders", status="pending")
    await desk.write("three", namespace="orders", change=Change.DELETED)
    assert [await watch.change() for _ in range(3)] == [("one", 2, "gone"), ("three", 1, "created"), ("three", 2, "deleted")]


async def test_an_owner_hears_of_its_own_alone(desk: Desk) -> None:
    """Of others' objects nothing; of a key that becomes another's that its own is gone, and nothing of the other."""
    await desk.write("a", namespace="owned")
    await desk.write("b", namespace="owned", owner="bob", actor="bob")
    ada, bob = desk.watch(namespace="owned"), desk.watch(BOB, namespace="owned")
    one = desk.watch(BOB, namespace="owned", key="a")
    assert (await ada.snapshot(), await bob.snapshot(), await one.snapshot()) == ({"a": 1}, {"b": 1}, {})
    await desk.write("b", namespace="owned", owner="bob", actor="bob")
    await desk.write("a", namespace="owned", numbered=False)
    await desk.write("a", namespace="owned", numbered=False, change=Change.DELETED)
    await desk.write("a", namespace="owned", numbered=False, owner="bob", actor="bob")
    await desk.number()
    await desk.write("z", namespace="owned")
    await desk.write("a", namespace="owned", owner="bob", actor="bob")
    assert {await ada.change() for _ in range(2)} == {("a", 3, "gone"), ("z", 1, "created")}
    assert sorted([await bob.change() for _ in range(3)]) == [("a", 4, "created"), ("a", 5, "updated"), ("b", 2, "updated")]
    assert [await one.change() for _ in range(2)] == [("a", 4, "created"), ("a", 5, "updated")]
    with pytest.raises(UnauthenticatedError):
        await desk.watch(ANONYMOUS, namespace="owned").next()
    with pytest.raises(StateNamespaceUnknownError):
        await desk.watch(namespace="nowhere").next()


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
async def test_rights_that_change_are_felt_with_the_next_word(desk: Desk) -> None:
    """More rights: a gap and what is seen now; fewer: a gap and what is left; none: the end."""
    await desk.write("ada's", namespace="orders", status="pending")
    await desk.write("bob's", namespace="orders", status="pending", owner="bob", actor="bob")
    watch = desk.watch(namespace="orders")
    assert await watch.snapshot() == {"ada's": 1}
    desk.grants.by_subject["ada"] = {"orders:read"}
    following = asyncio.create_task(watch.next())
    await asyncio.sleep(0)
    desk.watches.doubt()
    assert await following == Gap(GapReason.RIGHTS_CHANGED)
    assert await watch.snapshot() == {"ada's": 1, "bob's": 1}
    held = watch.position
    desk.grants.by_subject.clear()
    await desk.write("bob's", namespace="orders", owner="bob", actor="bob")
    assert await watch.next() == Gap(GapReason.RIGHTS_CHANGED)
    assert await watch.snapshot() == {"ada's": 1}
    again = desk.watch(namespace="orders", position=held)
    assert await again.next() == Gap(GapReason.RIGHTS_CHANGED)
    reader = desk.watch(replace(BOB, id="eve"), namespace="open")
    await reader.snapshot()


def _ban(desk: Desk) -> None:
    desk.bans.take(WatchBansResponse(bans=[Ban(level="user", tenant="default", subject="ada")]))


def _revoke(desk: Desk) -> None:
    desk.revoked.add("ada")
    desk.watches.doubt()


def _expire(desk: Desk) -> None:
    desk.now = 100.0
    desk.watches.doubt()


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
@pytest.mark.parametrize(("happens", "error"), [(_ban, BannedError), (_revoke, TokenRevokedError), (_expire, TokenExpiredError)])
async def test_who_may_be_here_no_longer_hears_no_more(
    desk: Desk, happens: Callable[[Desk], None], error: type[Exception]
) -> None:
    """A ban, a revocation, the end of a token end the watch at once, and a new one is refused."""
    who = replace(ADA, expires_at=50.0)
    watch = desk.watch(who)
    await watch.snapshot()
    following = asyncio.create_task(watch.next())
    await asyncio.sleep(0)
    happens(desk)
    with pytest.raises(error):
        await following
    await desk.write("a")
    with pytest.raises(error):
        await desk.watch(who, position=watch.position).next()
    assert (await desk.watches.health()).metrics == {"watches": 0.0, "callers": 0.0}


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
async def test_who_watches_with_a_key_is_sent_to_prove_it_anew(desk: Desk) -> None:
    """What may be believed of a key ends before the key does: UNAVAILABLE lets who watches come again, a gateway by itself."""
    key = replace(ADA, expires_at=50.0, is_key=True, scopes=frozenset({"*"}))
    watch = desk.watch(key)
    await watch.snapshot()
    following = asyncio.create_task(watch.next())
    await asyncio.sleep(0)
    _expire(desk)
    with pytest.raises(UnavailableError):
        await following
    await desk.write("a")
    again = desk.watch(replace(key, expires_at=700.0), position=watch.position)
    assert await again.next() is not None


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
@pytest.mark.parametrize("settings", [StateSettings(watches=3, watches_per_caller=2)])
async def test_watches_are_bounded(desk: Desk) -> None:
    """One caller has its number of them, the process has its own; who leaves makes room."""
    first, second = desk.watch(), desk.watch()
    await first.snapshot()
    await second.snapshot()
    with pytest.raises(StateTooManyWatchesError):
        await desk.watch().next()
    bobs = desk.watch(BOB)
    await bobs.snapshot()
    with pytest.raises(StateWatchesFullError):
        await desk.watch(BOB).next()
    await first.close()
    await desk.watch().snapshot()


async def test_who_is_slow_reads_the_log(desk: Desk) -> None:
    """A reader that takes nothing for long hears of everything all the same; what waits for it meanwhile is bounded."""
    watch = desk.watch()
    await watch.snapshot()
    await desk.write("k0")
    assert await watch.change() == ("k0", 1, "created")
    for number in range(150):
        await desk.write(f"k{number % 7}")
    (subscriptions,) = desk.feed._subscriptions.values()
    assert all(len(one._waiting) <= 64 for one in subscriptions)
    heard = [await watch.change() for _ in range(150)]
    for key in range(7):
        versions = [version for name, version, _ in heard if name == f"k{key}"]
        assert versions == list(range(2 if key == 0 else 1, len(versions) + (2 if key == 0 else 1)))


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
@pytest.mark.parametrize("settings", [StateSettings(watch_quiet=0.02)])
async def test_a_quiet_watch_gives_signs_of_life_that_move_on(desk: Desk) -> None:
    """Who follows one object of a busy namespace goes on from where the log is, not from where its object was last."""
    watch = desk.watch(key="a")
    await watch.snapshot()
    await desk.write("a")
    await watch.change()
    for number in range(20):
        await desk.write(f"k{number}")
    place = Place.parse(watch.position).position
    while sum(place.numbers) < 21:
        position, told = await asyncio.wait_for(anext(watch.telling), 20)
        assert told is None
        place = Place.parse(position).position
    assert place.numbers[partition_of("default", "a")] >= 1


@pytest.mark.parametrize("open_parts", ["memory"], indirect=True)
async def test_nobody_without_rights_gets_in(desk: Desk) -> None:
    """Of a namespace that the caller could see nothing of nothing is said."""
    nobody = AccessRule(())
    closed = replace(NOTES, name="closed", access=NamespaceAccess(nobody, nobody, nobody, nobody, nobody))
    desk.watches._namespaces = {"closed": Namespace.of(closed, [], max_data_bytes=10)}
    for key in ("", "a"):
        with pytest.raises(PermissionDeniedError):
            await desk.watch(namespace="closed", key=key).next()
