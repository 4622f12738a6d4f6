"""500 hostile sockets: the memory of the process stays within a bound, and who is well behaved is served meanwhile."""

import asyncio
import json
import sys
from contextlib import suppress

import centrifuge
import psutil
import pytest
from stylobate.testing.until import until
from stylobate_realtime.wire.framing import Opcode

from .clients import Person, Watch
from .test_framing import masked
from .test_hostile import HEAD

SOCKETS = 500
FOR_S = 6.0
BOUND = 64 * 1024 * 1024


def _command(number: int, **command) -> bytes:
    return masked(Opcode.TEXT, json.dumps({"id": number, **command}).encode(), mask=b"\1\2\3\4")


def _many(*commands) -> bytes:
    """Return frames of commands, about 32 KiB of them."""
    frames = b"".join(_command(number, **command) for number, command in enumerate(commands, 2))
    return frames * max(1, 32_768 // len(frames))


EMPTY = masked(Opcode.CONTINUATION, b"", final=False)
ATTACKS = {
    "subscribes to what is busy and never reads": (_command(2, subscribe={"channel": "chat:busy"}), b""),
    "asks for presence and never reads": (
        _command(2, subscribe={"channel": "chat:crowd"}), _many({"presence": {"channel": "chat:crowd"}})
    ),
    "pings and never reads": (b"", masked(Opcode.PING, b"x" * 125) * 200),
    "pongs": (b"", masked(Opcode.PONG, b"x" * 125) * 200),
    "never ends a message": (masked(Opcode.TEXT, b"x" * 1000, final=False) + masked(0, b"x" * 1000, final=False) * 64, b""),
    "never ends a frame": (masked(Opcode.TEXT, b"x" * 65_500)[:-1], b""),
    "sends empty fragments": (masked(Opcode.TEXT, b"", final=False), EMPTY * 5000),
    "publishes big messages": (b"", _many({"publish": {"channel": "news:1", "data": "x" * 60_000}})),
    "subscribes to thousands": (b"", _many(*({"subscribe": {"channel": f"chat:{number:0>200}"}} for number in range(300)))),
    "unsubscribes from nothing": (b"", _many({"unsubscribe": {"channel": "chat:1"}})),
}  # fmt: skip
"""What is sent once, and what again and again."""
ALWAYS = {"asks for presence and never reads", "never ends a message", "subscribes to thousands"}
"""What took most memory; the others are soak tests."""
CASES = [pytest.param(*attack, id=name, marks=() if name in ALWAYS else pytest.mark.soak) for name, attack in ATTACKS.items()]


async def _attack(port: int, token: str, once: bytes, again: bytes, ended: asyncio.Event) -> None:
    """Connect, send, and read nothing behind the upgrade."""
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(HEAD.format(more="", host="127.0.0.1", query="").encode() + _command(1, connect={"token": token}))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(once)
        while again and not ended.is_set() and not writer.transport.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0.05)
        await ended.wait()
        writer.transport.abort()


@pytest.mark.parametrize(("once", "again"), CASES)
async def test_hostile_sockets(once, again):
    """Whatever 500 clients do, the process grows by less than 64 MiB and a subscriber goes on hearing."""
    arguments = ("-m", "services.realtime.tests.hostile_server")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    ended = asyncio.Event()
    attackers: list[asyncio.Task[None]] = []
    person = None
    try:
        told = json.loads(await process.stdout.readline())
        person, seen = await _listener(told)
        memory = psutil.Process(process.pid).memory_info
        before = peak = memory().rss
        tokens = told["tokens"][:SOCKETS]
        attackers += [asyncio.create_task(_attack(told["port"], token, once, again, ended)) for token in tokens]
        loop = asyncio.get_running_loop()
        end = loop.time() + FOR_S
        while loop.time() < end:
            peak = max(peak, memory().rss)
            await asyncio.sleep(0.05)
        heard = len(seen.of("publication"))
        await until(lambda: len(seen.of("publication")) > heard, within_s=10)
        sys.stdout.write(
            f"{SOCKETS} sockets: grew by {(peak - before) / 2**20:.1f} MiB from {before / 2**20:.1f}, {heard} heard meanwhile\n"
        )
        assert peak - before < BOUND
        numbers = [context.pub.data for context in seen.of("publication")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    finally:
        ended.set()
        await asyncio.gather(*attackers, return_exceptions=True)
        if person is not None:
            await person.client.disconnect()
        process.stdin.close()
        await process.wait()


async def _listener(told) -> tuple[Person, Watch]:
    watch = Watch()
    person = Person(
        centrifuge.Client(f"ws://127.0.0.1:{told['port']}/v1/realtime", events=watch, token=told["tokens"][-1]), watch
    )
    await person.client.connect()
    await watch.wait("connected")
    _, seen = await person.subscribe("news:calm")
    return person, seen
