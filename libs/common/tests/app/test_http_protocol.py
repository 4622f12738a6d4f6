"""The listener's protocol: answers arrive whole and in few writes, also long and pipelined ones."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from stylobate.app.joined_writes import JoinedWrites, TurnEnd
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind


class _Transport:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return False


async def test_what_one_turn_writes_leaves_together() -> None:
    """Head and body are one write; the next turn's are another."""
    inner = _Transport()
    joined = JoinedWrites(inner, TurnEnd(asyncio.get_running_loop()))  # type: ignore[arg-type]
    joined.write(b"head")
    joined.write(b"body")
    assert inner.told == []
    await asyncio.sleep(0)
    joined.write(b"next")
    await asyncio.sleep(0)
    assert inner.told == [b"headbody", b"next"]


async def test_nothing_is_lost_by_closing() -> None:
    """What was held goes out before the end, once."""
    inner = _Transport()
    joined = JoinedWrites(inner, TurnEnd(asyncio.get_running_loop()))  # type: ignore[arg-type]
    joined.write(b"last")
    joined.close()
    await asyncio.sleep(0)
    assert inner.told == [b"last", "close"]


async def test_a_long_answer_is_not_held() -> None:
    """Past 64 KiB it is written at once, so that flow control sees it."""
    inner = _Transport()
    JoinedWrites(inner, TurnEnd(asyncio.get_running_loop())).write(bytes(65 * 1024))  # type: ignore[arg-type]
    assert len(inner.told[0]) == 65 * 1024


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Serve an application that answers with a body as long as the path says, in pieces."""

    async def application(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        length = int(scope["path"][1:])
        headers = [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(length // 1000):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        await send({"type": "http.response.body", "body": b"x" * (length % 1000)})

    bound = bind("127.0.0.1:0")
    listener = HttpListener(application, bound)
    number = bound.getsockname()[1]
    await listener.start()
    yield number
    await listener.stop()


async def test_pipelined_and_long_answers_come_whole(port: int) -> None:
    """Three requests in one packet are answered in order, the last with two megabytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lengths = (10, 70_000, 2_000_003)
    writer.write(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % length for length in lengths))
    for length in lengths:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(length) == b"x" * length
    writer.close()
    await writer.wait_closed()
