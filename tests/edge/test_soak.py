"""All attacks at once beside twenty honest clients; prints what docs/reference/robustness.md shows."""

import asyncio

import pytest

from .attacks import ATTACKS, attacking
from .honest import Answers, honest_client, operator
from .test_attacks import MOST_GROWTH, largest, memory

_FOR_S = 60.0
_HONEST = 20


@pytest.mark.soak
@pytest.mark.parametrize("addresses", [1, len(ATTACKS)])
async def test_all_attacks_at_once(platform, person, addresses) -> None:
    """Honest clients and operators are answered, however slowly, and the process grows by less than 64 MiB."""
    tokens = [person().token for _ in range(_HONEST)]
    honest, admin = Answers(), Answers()
    before = memory(platform.pid)
    watching = asyncio.create_task(largest(platform.pid))
    tasks = [asyncio.create_task(honest_client(platform, number, token, honest)) for number, token in enumerate(tokens)]
    tasks.append(asyncio.create_task(operator(platform, admin)))
    async with attacking(platform.gateway, *ATTACKS, addresses=addresses):
        await asyncio.sleep(_FOR_S)  # how long it lasts
    for task in (watching, *tasks):
        task.cancel()
    most, *_ = await asyncio.gather(watching, *tasks, return_exceptions=True)
    print(  # noqa: T201  figures
        f"\n{addresses} addresses: {len(honest.seconds)} answers, p50 {honest.at(0.5):.0f} ms, p99 {honest.at(0.99):.0f} ms, "
        f"max {honest.at(1):.0f} ms, failures {len(honest.failures)}; growth {(most - before) / 2**20:+.0f} MiB; "
        f"admin: {len(admin.seconds)} answers, slowest {admin.at(1):.0f} ms, failures {len(admin.failures)}"
    )
    assert honest.seconds
    assert admin.seconds
    assert most - before < MOST_GROWTH
