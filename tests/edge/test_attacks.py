"""Nothing that an anonymous client sends makes the process grow, keeps others from an answer, or silences the admin port."""

import asyncio
from pathlib import Path

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import until

from .attacks import ATTACKS, attacking
from .honest import Answers, honest_client, operator

MOST_GROWTH = 64 * 1024 * 1024
_FOR_S = 1.0
_HONEST_ANSWERS = 10
_SHORTLY = frozenset(
    {
        *("trailers without end", "fields without end", "heads that stop at 60 KiB", "chunk extensions without end"),
        *("bodies that stop before the end", "bodies of many values", "bodies in drips", "connections cut off", "long queries"),
        *("connections that say nothing", "answers nobody reads", "requests far ahead of their answers", "other protocols"),
        *(
            "actions far ahead of their answers",
            "small bodies of an action in drips",
            "sockets nobody connects",
            "fragments without end",
            "half frames",
        ),
    }
)
"""One or two of each kind; `make soak` runs all."""
_SOME_LATER = [pytest.param(name, marks=() if name in _SHORTLY else pytest.mark.soak) for name in ATTACKS]


def memory(pid: int) -> int:
    """Return the bytes that the process has for itself (proc(5), status), of sums that the system keeps."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "VmSwap:")))


async def largest(pid: int) -> int:
    """Watch the process's memory until cancelled, then return the most it had."""
    most = 0
    try:
        while True:
            most = max(most, memory(pid))
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return most


@pytest.mark.parametrize("name", _SOME_LATER)
async def test_an_attack_harms_nobody(platform, person, name) -> None:
    """Each on its own: the process grows by less than 64 MiB, honest clients and operators are answered all the while."""
    token = person().token
    honest, admin = Answers(), Answers()
    async with httpx.AsyncClient(base_url=platform.gateway, verify=NO_TLS) as client:
        await client.get("/openapi.json")  # made once and kept
    before = memory(platform.pid)
    watching = asyncio.create_task(largest(platform.pid))
    others = [asyncio.create_task(honest_client(platform, 0, token, honest)), asyncio.create_task(operator(platform, admin))]
    async with asyncio.timeout(90), attacking(platform.gateway, name):
        await asyncio.sleep(_FOR_S)  # how long the attack lasts
        await until(lambda: min(len(honest.seconds), len(admin.seconds)) >= _HONEST_ANSWERS)
    for task in (watching, *others):
        task.cancel()
    most, *_ = await asyncio.gather(watching, *others, return_exceptions=True)
    grown = (most - before) / 2**20
    print(f"{name}: {grown:+.0f} MiB, slowest answer {honest.at(1):.0f} ms, refused {honest.refused}, admin {admin.at(1):.0f} ms")  # noqa: T201  figures
    assert honest.failures + admin.failures == []
    assert most - before < MOST_GROWTH
