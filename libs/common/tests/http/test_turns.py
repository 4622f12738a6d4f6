"""Whose turn it is when many want something at once: each address has one, however much it sends."""

import asyncio
import socket
import struct

import pytest
from prometheus_client import REGISTRY
from stylobate.app.turns import FairQueue, RankedQueue, ReadingTurns
from stylobate.testing.until import until

from .hall import GREEDY, MODEST, WITHIN_S, opened

LONG = 200_000


def _reset(writer: asyncio.StreamWriter) -> None:
    """Cut the connection: a close alone would leave open whether the client still waits for an answer."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _open_connections() -> float:
    return REGISTRY.get_sample_value("stylobate_http_connections") or 0


def test_each_owner_has_one_turn_at_a_time() -> None:
    """Whoever comes with one thing is served before the second of others."""
    queue = FairQueue[str]()
    for thing in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.put(thing[0], thing)
    found = [queue.pop(), queue.pop()]
    queue.put("d", "d1")
    while queue.count:
        found.append(queue.pop())
    assert found == ["a1", "b1", "c1", "a2", "d1", "c2", "a3"]


def test_who_is_known_goes_first_and_keeps_nobody_out() -> None:
    """Of four turns a stranger has one while both wait; what is said of the wait holds."""
    queue = RankedQueue[str]()
    for number in range(5):
        queue.put("s", f"s{number}", is_known=False)
    for number in range(7):
        queue.put(f"k{number % 2}", f"k{number}", is_known=True)
    before = queue.before("k9", is_known=True), queue.before("s", is_known=False)
    queue.put("k9", "late", is_known=True)
    found = [queue.pop() for _ in range(queue.count)]
    assert found == ["k0", "k1", "late", "s0", "k2", "k3", "k4", "s1", "k5", "k6", "s2", "s3", "s4"]
    assert before >= (found.index("late"), len(found) - 1)
    assert queue.count == 0
    queue.put("s", "stale", is_known=False)
    assert (queue.shed(lambda _: True), queue.count) == (["stale"], 0)


async def test_a_request_on_a_known_connection_goes_before_those_of_strangers(express_for) -> None:
    """Who was served before on a connection is next, though strangers of as many addresses came first."""
    async with opened(express_for, beginning=1) as hall:
        answers, writer = await hall.ask(MODEST, "/known")
        await hall.has_begun("/known")
        hall.admit("/known")
        hall.answer("/known")
        await answers.readuntil(b"\r\n\r\n")
        await hall.ask(GREEDY, "/stranger0")
        await hall.has_begun("/known", "/stranger0")
        for number in range(1, 4):
            await hall.ask(f"127.0.0.{10 + number}", f"/stranger{number}")
        writer.write(b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.1)  # it arrives; nothing tells of that, and an early answer would fail the test below, not pass it
        begun = ["/known", "/stranger0"]
        for following in ("/again", "/stranger1", "/stranger2", "/stranger3"):
            hall.answer(begun[-1])
            begun.append(following)
            await hall.has_begun(*begun)


async def test_the_crowd_of_one_address_keeps_no_other_waiting(express_for) -> None:
    """The modest one's only request is next, before those that the greedy one had sent long before."""
    async with opened(express_for, beginning=2) as hall:
        for number in range(5):
            await hall.ask(GREEDY, f"/greedy{number}")
        await hall.has_begun("/greedy0", "/greedy1")
        await hall.ask(MODEST, "/modest")
        await asyncio.sleep(0.1)  # it arrives; nothing tells of that, and an early answer would fail the test below, not pass it
        hall.answer("/greedy0")
        await hall.has_begun("/greedy0", "/greedy1", "/greedy2")
        hall.answer("/greedy1")
        await hall.has_begun("/greedy0", "/greedy1", "/greedy2", "/modest")


async def test_a_request_that_is_admitted_lets_others_begin(express_for) -> None:
    """What takes long once it is charged keeps nobody waiting."""
    async with opened(express_for, beginning=1) as hall:
        await hall.ask(GREEDY, "/first")
        await hall.has_begun("/first")
        await hall.ask(GREEDY, "/second")
        await hall.has_begun("/first")
        hall.admit("/first")
        await hall.has_begun("/first", "/second")
        hall.admit("/first")  # says nothing new
        hall.answer("/first")
        await hall.ask(GREEDY, "/third")
        await hall.has_begun("/first", "/second")


async def test_who_has_left_has_no_turn(express_for) -> None:
    """What a client asked that is gone before its turn is never begun, and keeps nobody else from it."""
    async with opened(express_for, beginning=1) as hall:
        await hall.ask(GREEDY, "/first")
        await hall.has_begun("/first")
        before = _open_connections()
        _, writer = await hall.ask(GREEDY, "/gone")
        await until(lambda: _open_connections() > before)
        reader, _ = await hall.ask(MODEST, "/last")
        _reset(writer)
        await until(lambda: len(hall.connections) == 2)  # it is lost, and counts until its turn has come
        assert _open_connections() == before + 2
        hall.answer("/first")
        await hall.has_begun("/first", "/last")
        hall.answer("/last")
        async with asyncio.timeout(WITHIN_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert hall.begun == ["/first", "/last"]
        await until(lambda: _open_connections() == before + 1)


async def test_a_connection_counts_until_its_work_has_ended(express_for) -> None:
    """Who connects, asks and leaves again and again has no more at work than who stays."""
    async with opened(express_for, connections_per_address=2) as hall:
        for path in ("/leaves0", "/leaves1"):
            _, writer = await hall.ask(GREEDY, path)
            await until(lambda path=path: path in hall.begun)
            _reset(writer)
        reader, _ = await hall.ask(GREEDY, "/third")
        async with asyncio.timeout(WITHIN_S):
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
        hall.answer("/leaves0")
        async with asyncio.timeout(WITHIN_S):
            while "/third" not in hall.begun:
                reader, writer = await hall.ask(GREEDY, "/third")
                await asyncio.sleep(0.05)
        assert "/leaves0" in hall.gone


async def test_who_sent_more_requests_ahead_is_known_to_have_left(express_for) -> None:
    """The application hears that the client is gone for the request it is busy with, not for the one that was read last."""
    async with opened(express_for) as hall:
        _, writer = await hall.ask(MODEST, "/leaves", "/ahead")
        await hall.has_begun("/leaves")
        hall.answer("/leaves")
        _reset(writer)
        await until(lambda: bool(hall.gone))
        assert hall.begun == ["/leaves"]


async def test_long_bodies_of_many_come_whole(express_for) -> None:
    """Reading in turns loses nothing."""
    async with opened(express_for) as hall:
        paths = [f"/{number}" for number in range(20)]
        for path in paths:
            await hall.ask(GREEDY, path, body=bytes(LONG))
        await until(lambda: len(hall.bodies) == len(paths))
        assert hall.bodies == dict.fromkeys(paths, LONG)


class _Reader:
    """A connection that notes when it may read."""

    def __init__(self, name: str, readings: list[str]) -> None:
        self.name = name
        self.readings = readings

    def hold_reading(self) -> None:
        pass

    def go_on_reading(self) -> None:
        self.readings.append(self.name)


async def test_few_read_in_one_round_of_the_loop() -> None:
    """A hundred connections with much to read leave the loop free in between, and whoever else reads comes first."""
    readings: list[str] = []
    turns = ReadingTurns(asyncio.get_running_loop())
    for number in range(100):
        turns.wait(GREEDY, _Reader(f"greedy{number}", readings))
    turns.wait(MODEST, _Reader("modest", readings))
    rounds = 0
    while len(readings) < 101:
        before = len(readings)
        await asyncio.sleep(0)
        rounds += 1
        assert len(readings) - before < 10
    assert readings.index("modest") == 1
    assert rounds > 10


async def _is_open(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.2):
            await reader.read(1)
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    return False


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nhos", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"])
async def test_a_crowd_of_strangers_loses_its_oldest(said: bytes, express_for) -> None:
    """Of an address with many connections that were never admitted the oldest go; those of others, and known ones, stay."""
    async with opened(express_for, strangers=32) as hall:
        known, writer = await hall.ask(GREEDY, "/known")
        await hall.has_begun("/known")
        hall.admit("/known")
        hall.answer("/known")
        assert b"200" in await known.readline()
        modest = await hall.connect(MODEST)
        crowd = [await hall.connect(GREEDY, said) for _ in range(40)]
        async with asyncio.timeout(WITHIN_S):
            while await _is_open(crowd[0]):
                pass
        assert await _is_open(crowd[-1])
        assert await _is_open(modest)
        writer.write(b"POST /again HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        await until(lambda: "/again" in hall.begun)


async def test_who_waits_in_a_crowd_is_told_so(express_for) -> None:
    """A request that waits for its turn is refused, not dropped, when strangers are too many; one that has begun is answered."""
    async with opened(express_for, requests=1, strangers=32) as hall:
        first, _ = await hall.ask(GREEDY, "/first")
        await hall.has_begun("/first")
        crowd = [(await hall.ask(GREEDY, f"/{number}"))[0] for number in range(60)]
        answers = [await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN_S) for reader in crowd]
        assert [answer.split(b"\r\n", 1)[0] for answer in answers] == [b"HTTP/1.1 503 Service Unavailable"] * 60
        assert all(b"\r\nconnection: close\r\n" in answer for answer in answers[:28])
        assert hall.begun == ["/first"]
        hall.answer("/first")
        assert b" 200 " in await first.readline()


async def test_a_trusted_proxy_is_no_crowd(express_for) -> None:
    """Its connections are those of many."""
    async with opened(express_for, strangers=8, trusted_proxies=(f"{GREEDY}/32",)) as hall:
        crowd = [await hall.connect(GREEDY) for _ in range(40)]
        await hall.ask(MODEST, "/known")
        await hall.has_begun("/known")
        assert all([await _is_open(reader) for reader in crowd[:3]])
