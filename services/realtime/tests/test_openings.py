"""Storms of new sockets: a few are let in at a time, the others wait or are told to come again, and nobody is lost in silence."""

import asyncio
from collections import Counter

import pytest
from stylobate.http.errors import OverloadedError
from stylobate.testing.until import until
from stylobate_realtime import openings
from stylobate_realtime.openings import Openings

from .test_endpoint import Peer


@pytest.fixture
async def turns(monkeypatch) -> Openings:
    """Give turns, two at a time."""
    monkeypatch.setattr(openings, "_AT_ONCE", 2)
    return Openings(asyncio.get_running_loop())


async def test_who_waits_gets_a_turn_one_of_each_address_after_the_other(turns):
    """Two have one; of those who wait no address is served twice before another was served."""
    held = [await turns.turn("192.0.2.1") for _ in range(2)]
    order: list[str] = []

    async def open_one(address: str) -> None:
        turn = await turns.turn(address)
        order.append(address)
        assert len(turns._held) <= 2
        await asyncio.sleep(0)
        turn.end()
        turn.end()

    addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
    tasks = [asyncio.create_task(open_one(address)) for address in addresses]
    await until(lambda: turns.waiting == len(addresses))
    held[0].end()
    await asyncio.gather(*tasks)
    assert order == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1", "192.0.2.1"]
    held[1].end()
    assert (turns.waiting, len(turns._held)) == (0, 0)


async def test_who_waits_too_long_is_told_to_come_again(turns, monkeypatch):
    """The error has the time to wait."""
    monkeypatch.setattr(openings, "_WAIT_S", 0.0)
    monkeypatch.setattr(openings, "_HELD_S", 3600.0)
    held = [await turns.turn("192.0.2.1") for _ in range(2)]
    with pytest.raises(OverloadedError) as refused:
        await turns.turn("192.0.2.2")
    assert refused.value.retry_after.total_seconds() == 1
    assert (turns.waiting, len(held)) == (0, 2)


async def test_who_waits_for_something_else_keeps_nobody_out(turns, monkeypatch):
    """A turn that lasts, since another service does not answer, counts no longer."""
    monkeypatch.setattr(openings, "_HELD_S", 0.0)
    lasting = [await turns.turn("192.0.2.1") for _ in range(2)]
    following = await turns.turn("192.0.2.1")
    for turn in (*lasting, following):
        turn.end()
    assert not turns._held


async def test_who_is_gone_passes_its_turn_on(turns):
    """Cancelled while it waits, and at the moment in which it gets its turn."""
    held = [await turns.turn("192.0.2.1") for _ in range(2)]
    tasks = [asyncio.create_task(turns.turn("192.0.2.1")) for _ in range(3)]
    await until(lambda: turns.waiting == 3)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    held[0].end()
    tasks[1].cancel()
    (await tasks[2]).end()
    held[1].end()
    assert not turns._held


async def test_a_socket_whose_turn_does_not_come_is_answered(platform, serve, monkeypatch):
    """At the upgrade with 503 and the time to wait, at the connect with 3014, after which SDKs come again."""
    monkeypatch.setattr(openings, "_WAIT_S", 0.0)
    async with serve() as node:
        peers = [Peer(*await asyncio.open_connection("127.0.0.1", node.port)) for _ in range(2)]
        assert (await peers[0].upgrade())[0] == 101
        monkeypatch.setattr(openings, "_AT_ONCE", 0)
        status, head = await peers[1].upgrade()
        assert (status, b"retry-after: 1\r\n" in head) == (503, True)
        assert b'"OVERLOADED"' in await peers[1].reader.read()
        peers[0].say({"id": 1, "connect": {"token": platform.auth.token()}})
        assert await peers[0].closed() == 3014
        for peer in peers:
            peer.writer.close()


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.soak)])
async def test_a_storm_lets_in_or_answers_everybody(platform, serve, monkeypatch, count):
    """Each of them is let in or told when to come again, few are at it at a time, and who is in hears on."""
    at_it = 0
    given = Openings._give

    def give(self):
        nonlocal at_it
        turn = given(self)
        at_it = max(at_it, len(self._held))
        return turn

    monkeypatch.setattr(Openings, "_give", give)
    async with serve() as node:
        early = Peer(*await asyncio.open_connection("127.0.0.1", node.port))
        token = platform.auth.token()
        await early.upgrade()
        early.say({"id": 1, "connect": {"token": token}}, {"id": 2, "subscribe": {"channel": "news:1"}})
        await early.hear()
        await early.hear()

        async def come() -> str:
            peer = Peer(*await asyncio.open_connection("127.0.0.1", node.port))
            try:
                status, head = await peer.upgrade()
                if status != 101:
                    return f"{status} {b'retry-after: 1' in head}"
                peer.say({"id": 1, "connect": {"token": token}}, {"id": 2, "subscribe": {"channel": "news:1"}})
                opcode, payload = await peer.frame()
                return "in" if b'"connect"' in payload else f"{opcode} {payload[:20]!r}"
            finally:
                peer.writer.transport.abort()

        storm = asyncio.gather(*(come() for _ in range(count)))
        await node.publish("news:1", {"n": 1})
        assert (await early.hear())["push"]["pub"]["data"] == {"n": 1}
        found = Counter(await storm)
        assert set(found) <= {"in", "503 True"} | {key for key in found if key.startswith("8 b'\\x0b\\xc6")}
        assert found["in"] >= min(count, 60)
        assert 0 < at_it <= openings._AT_ONCE
        early.writer.close()
