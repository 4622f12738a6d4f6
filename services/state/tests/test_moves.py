"""A namespace carried from one database to another, of another kind, and back: all that was ever written of it is there, once."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from stylobate.api.state.v1 import state_keeping_service_pb2 as keeping
from stylobate.database import DatabaseManager
from stylobate.database.mongodb import MongoManager
from stylobate.declarations.model import IndexField
from stylobate.errors import DatabaseUnavailableError
from stylobate.idempotency.port import Claim
from stylobate.outbox import Event
from stylobate.testing import sequence_ids
from stylobate_state.carrier import Carrier, Home
from stylobate_state.errors import StateMovedError, StateMoveRefusedError
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.index import Index
from stylobate_state.model import NotUnique, StateKey, TimerStart, Written
from stylobate_state.owner_forgetter import OwnerForgetter
from stylobate_state.servicer import StateKeepingServicer
from stylobate_state.state_manager import StateManager
from stylobate_state.state_mover import Standing, Standings, StateMover
from stylobate_state.state_writer import Environment
from stylobate_state.store.forgetting import Erased
from stylobate_state.store.moving import Arrival

from .conftest import MIGRATION_SETS, Kept, kept
from .samples import NOTES, deletion, write

NEW_ID = sequence_ids()
UNIQUE = Index("orders", (IndexField("total", "number"),), is_unique=True)
TIMERS = (TimerStart("cancel", timedelta(hours=1)),)
EXACT = b'{"total": 1.50, "big": 12345678901234567890.1234567890, "none": null, "text": "a\\u00e9\\\\ \\ud83d\\ude00"}'
WHEN = datetime(2030, 1, 1, tzinfo=UTC)


def key(name: str, namespace: str = "orders", tenant: str = "default") -> StateKey:
    """Name an object."""
    return StateKey(tenant, namespace, name)


class Side(Kept):
    """One of two databases."""

    name: str

    @property
    def home(self) -> Home:
        """The database as moves see it."""
        return Home(self.name, self.places, self.store, self.loads, self.projections)

    async def write(self, *writes: Any, numbered: bool = True) -> list[object]:
        """Write, and give what was written its places in the log."""
        outcomes = await self.store.write(writes)
        if numbered:
            await self.number()
        return list(outcomes)

    async def number(self) -> None:
        """Give all events their places in the log."""
        await self.numbering.claim(1)
        while await self.numbering.number(1):
            pass

    async def all(self) -> tuple[list[object], list[object], int]:
        """Return the orders, what is told of them, and how many timers wait."""
        keys: list[StateKey] = []
        while more := await self.loads.keys("orders", keys[-1] if keys else None, 7):
            keys += more
        objects = await self.store.read(keys)
        told: list[object] = []
        for one in keys:
            place = ("", 0)
            while some := await self.loads.told([one], place, 2):
                told += [(version, bare(event), exact(event.data), exact(event.aside or b"null")) for version, event in some]
                place = some[-1].event.subject, some[-1].version
        return (
            [(replace(objects[one], data=b""), exact(objects[one].data)) for one in keys],
            told,
            await self.count("state_timer"),
        )

    async def heard(self, since: Any) -> list[tuple[str, int]]:
        """Return which orders' versions a reader of the logs hears of here."""
        page = await self.log.read(since, limit=10_000, carried=False)
        events = [one.event for one in page.events if one.event.type.startswith("state.orders.")]
        return [(event.subject, event.value()["version"]) for event in events]


def bare(event: Event) -> Event:
    """Return an event without its JSON, which each kind writes in a form of its own."""
    return replace(event, data=b"", aside=b"")


def exact(text: bytes) -> object:
    """Return JSON with all digits of its numbers."""
    return json.loads(text, parse_float=Decimal)


PAIRS = [("postgres", "mongodb"), ("mongodb", "postgres")]
"""Each kind in each part: what carries knows no kinds."""


@pytest_asyncio.fixture(params=PAIRS, ids=lambda pair: f"{pair[0]} to {pair[1]}")
async def sides(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Side, Side]]:
    """Give the main database and a further one, of each kind in turn."""
    async with AsyncExitStack() as stack:
        made = []
        for name, kind in zip(("main", "archive"), request.param, strict=True):
            postgres = kind == "postgres"
            databases = request.getfixturevalue("databases" if postgres else "mongo_databases")
            manager: Any = DatabaseManager if postgres else MongoManager
            url = await stack.enter_async_context(databases.fresh("state", *MIGRATION_SETS))
            side = Side(**vars(kept(await stack.enter_async_context(manager.open(url, service="state")))))
            side.name = name
            made.append(side)
        main, apart = made
        yield main, apart


async def move(here: Side, there: Side, *, at_once: int = 5) -> list[tuple[int, int]]:
    """Move the orders; each step is made twice, and the second time does nothing. Returns what the steps carried."""
    carrier = Carrier(here.home, there.home, NEW_ID)
    await carrier.begin("orders")
    counts, place = [], None
    while await carrier.make_room("orders"):
        await there.number()
    while True:
        carried = await carrier.carry("orders", place, at_once)
        again = await carrier.carry("orders", place, at_once)
        assert (again.objects, again.versions, again.place) == (0, 0, carried.place)
        if carried.place is None:
            break
        place = carried.place
        counts.append((carried.objects, carried.versions))
    while await carrier.enter([UNIQUE]):
        pass
    await carrier.begin("orders")
    await carrier.finish("orders")
    await carrier.begin("orders")  # of somebody else, who is late
    return counts


async def refused(side: Side, *writes: Any) -> None:
    """See to it that nobody can write there."""
    with pytest.raises(StateMovedError):
        await side.store.write(writes)


async def test_a_namespace_goes_there_and_back_whole(sides: tuple[Side, Side]) -> None:
    """Objects of two tenants, deleted ones, timers, what has no number yet, what was forgotten; each event is heard once."""
    main, apart = sides
    await main.store.declare([UNIQUE])
    numbered = [write(key(f"{number:02}"), 0, b'{"total": %d}' % number, timers=TIMERS) for number in range(8)]
    await main.write(*numbered)
    await main.write(write(key("1", tenant="other"), 0, EXACT), write(key("1", "notes"), 0))
    await main.write(write(key("03"), 1, b'{"total": 103.0, "secret": "plain"}'), deletion(key("04"), 1))
    await apart.places.take("notes")
    await apart.write(*(write(key(f"{number:02}", "notes"), 0) for number in range(5)))
    since = await main.log.oldest()
    await main.write(write(key("03"), 2, b'{"total": 203}'), numbered=False)
    expected = await main.all()
    beginning = await apart.log.head()
    assert await move(main, apart) == [(5, 8), (3, 3), (1, 1)]
    await refused(main, write(key("03"), 3))
    with pytest.raises(StateMovedError):
        await main.timers.fill("orders", "new", TimerStart("late", timedelta(hours=1)), 100)
    assert await apart.all() == expected
    assert await main.count("state_timer") == 0
    assert await apart.heard(beginning) == []
    await main.number()
    assert sorted(await main.heard(since)) == sorted((one["subject"], one["version"]) for one in await orders_of(main))
    assert all(standing.is_ready for standing in await apart.store.indexes())
    (taken,) = await apart.write(write(key("new"), 0, b'{"total": 5}'))
    assert isinstance(taken, NotUnique)
    (outcome, _) = await apart.write(write(key("03"), 3, b'{"total": 303}'), write(key("new"), 0, b'{"total": 1000}'))
    assert isinstance(outcome, Written)
    assert sorted(await apart.heard(beginning)) == [("03", 4), ("new", 1)]
    assert (await apart.forgetting.erase(key("03"))).versions == 3

    expected = await apart.all()
    back = await main.log.head()
    await move(apart, main)
    await refused(apart, write(key("03"), 4))
    assert await main.all() == expected
    assert await main.heard(back) == []
    assert not [one for one in await orders_of(main) if "plain" in str(one["data"])]
    (outcome,) = await main.write(write(key("03"), 4, b'{"total": 404}'))
    assert isinstance(outcome, Written)
    assert await main.heard(back) == [("03", 5)]
    (taken,) = await main.write(write(key("newer"), 0, b'{"total": 404.0}'))
    assert isinstance(taken, NotUnique)
    whole = await main.log.read(await main.log.oldest(), limit=10_000)
    versions: dict[str, list[int]] = {}
    for one in whole.events:
        if one.event.type.startswith("state.orders."):
            versions.setdefault(f"{one.event.tenant}/{one.event.subject}", []).append(one.event.value()["version"])
    assert versions["default/03"] == [1, 2, 3, 4, 5]
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())


async def orders_of(side: Side) -> Sequence[dict[str, Any]]:
    """Return the events of orders as they are stored."""
    return [one for one in await side.events() if one["stream"] == "orders"]


async def test_a_move_is_taken_back_and_begun_anew(sides: tuple[Side, Side]) -> None:
    """It is written where it stood, with its timers; late steps do nothing; the next move carries what changed since."""
    main, apart = sides
    await main.write(*(write(key(str(number)), 0, timers=TIMERS) for number in range(3)))
    first = Carrier(main.home, apart.home, NEW_ID)
    await first.begin("orders")
    assert not await first.make_room("orders")
    carried = await first.carry("orders", None, 2)
    await refused(main, write(key("0"), 1))
    await refused(apart, write(key("0"), 1), write(key("9"), 0))
    place = None
    while (place := await first.give_up("orders", place, 2)) is not None:
        pass
    assert await main.count("state_timer") == 3
    for step in (first.carry("orders", carried.place, 2), first.finish("orders"), first.make_room("orders")):
        with pytest.raises(StateMoveRefusedError, match="orders is not moved: the move was taken back"):
            await step
    await main.write(write(key("0"), 1, b"[0]", timers=TIMERS), deletion(key("1"), 1))
    with pytest.raises(StateMovedError):
        await apart.loads.put(Arrival("orders", "gone"), list((await main.store.read([key("2")])).values()), 0)
    objects, told, _ = await main.all()
    await move(main, apart)
    assert await apart.all() == (objects, told, 2)
    with pytest.raises(StateMoveRefusedError, match="it stands in archive already"):
        await first.give_up("orders", None, 2)


async def test_what_no_move_brought_is_not_taken_away(sides: tuple[Side, Side]) -> None:
    """A database that is another platform's: it keeps its objects, and the namespace is written where it stands."""
    main, apart = sides
    await main.write(write(key("1"), 0))
    await apart.write(write(key("1"), 0), write(key("2"), 0))
    with pytest.raises(StateMoveRefusedError, match="archive has objects of a namespace orders already, which no move brought"):
        await move(main, apart)
    for side in sides:
        (outcome,) = await side.write(write(key("1"), 1))
        assert isinstance(outcome, Written)
    assert len(await apart.loads.keys("orders", None, 9)) == 2


async def test_what_is_left_behind_is_taken_away(sides: tuple[Side, Side]) -> None:
    """Objects and all that events say of them; their numbers stay, and a move back brings the whole history again."""
    main, apart = sides
    await main.write(*(write(key(str(number)), 0, b'{"total": %d, "secret": "plain"}' % number) for number in range(5)))
    await main.write(write(key("0"), 1, b'{"total": 9}'), write(key("1", "notes"), 0, b'"plain"'))
    with pytest.raises(StateMovedError):
        await main.loads.clear(Arrival("orders", ""), 10)
    await move(main, apart)
    namespaces: Any = {"orders": NOTES}
    for places in ({}, {"orders": "archive"}):  # settings of before, and of now
        homes = {side.name: side.home for side in sides}
        told = await StateMover(namespaces, indexes=(), places=places, homes=homes, new_id=NEW_ID).standings()
        assert told == Standings([Standing("orders", "archive", "", ["main"])], [])
    head, expected = await main.log.head(), await apart.all()
    with pytest.raises(StateMovedError):
        await apart.loads.clear(Arrival("orders", ""), 10)
    place: tuple[str, str, int] | None = ("", "", 0)
    while place is not None:
        place = await main.loads.forget("orders", place, 4)
    while await main.loads.clear(Arrival("orders", ""), 3):
        pass
    assert await main.loads.keys("orders", None, 1) == ()
    left = await orders_of(main)
    assert len(left) == 6
    assert not [one for one in left if "plain" in str(one) or one["actor"] or one["aside"]]
    assert await main.log.head() == head
    assert (await main.store.read([key("1", "notes")]))[key("1", "notes")].data == b'"plain"'
    await move(apart, main)
    assert (await main.all()) == expected


async def test_what_goes_with_a_namespace_goes_along(sides: tuple[Side, Side]) -> None:
    """Answers to keyed calls, unless there are later ones; and the place of a projection whose objects are moved."""
    main, apart = sides

    def claimed(number: int, until: timedelta, answer: bytes) -> Claim:
        return Claim("default", "ada", "put", str(number), b"\0\xff", WHEN, WHEN + until, lambda _: answer)

    hour = [claimed(number, timedelta(hours=1), b"\xfe") for number in range(3)]
    for side, claims in ((main, hour), (apart, [claimed(0, timedelta(days=1), b"later")])):
        async with side.database.transaction() as transaction:
            assert all(await side.ledger.claim(transaction, claims))
            await side.ledger.answer(transaction, [(claim, None) for claim in claims])
    projection = await main.projections.open("orders")
    await main.projections.move("orders", projection.generation, "", "it failed")
    await apart.projections.open("orders")
    await main.write(write(key("1"), 0))
    await move(main, apart)
    answers = [(await apart.ledger.find(claim)).answer for claim in hour]
    assert answers == [b"later", b"\xfe", b"\xfe"]
    (moved,) = await apart.projections.standings()
    assert (moved.name, moved.generation, moved.error) == ("orders", projection.generation, "it failed")
    assert "1" in await apart.projections.read("orders", projection.generation, "default", ["1"])
    with pytest.raises((StateMovedError, DatabaseUnavailableError)):
        await main.write(write(key("1"), 1))


async def test_what_is_forgotten_while_a_move_carries_is_to_be_forgotten_again(
    sides: tuple[Side, Side], environment: Environment
) -> None:
    """The move may have carried what was there before: whoever asked is told to ask again, where it stands then."""
    main, apart = sides

    class Meanwhile(HistoryForgetter):
        """While it goes on, the orders are moved."""

        async def erase(self, key: StateKey) -> Erased:
            await Carrier(main.home, apart.home, NEW_ID).begin("orders")
            return await super().erase(key)

        async def forget_person(self, *args: Any, **named: Any) -> tuple[str, int] | None:
            await Carrier(main.home, apart.home, NEW_ID).begin("orders")
            return await super().forget_person(*args, **named)

    declared = {"orders": replace(NOTES, name="orders", on_owner_deleted="anonymize")}
    async with StateManager.open(declared, replace(environment, store=main.store), max_data_bytes=10_000) as manager:
        homes = {side.name: side.home for side in sides}
        mover = StateMover(manager.namespaces, indexes=(), places={}, homes=homes, new_id=NEW_ID)
        forgetters = {"orders": Meanwhile(main.forgetting, manager.namespaces, timedelta())}
        owners = OwnerForgetter(manager.namespaces, replace(environment, store=main.store), manager.writer, forgetters)
        servicer: Any = StateKeepingServicer(manager.keeper, forgetters, mover, owners)
        with pytest.raises(StateMovedError):
            await servicer.EraseState(keeping.EraseStateRequest(namespace="orders", key="1"), None)
        while not (await mover.step("orders", "main", "")).is_taken_back:
            pass
        with pytest.raises(StateMovedError):
            await servicer.ForgetOwner(keeping.ForgetOwnerRequest(owner="ada"), None)
