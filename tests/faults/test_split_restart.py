"""Two processes of each service are replaced one after the other while customers call actions."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform

from tests.faults.traffic import UNHELD
from tests.people import Person

_CALLERS = 4
_PAUSE_S = 0.02
_BENCH = Path(__file__).parents[2] / "bench" / "modules" / "bench"
_ORDER = {"items": [{"sku": "a-1", "quantity": 2}]}


async def call_until(over: asyncio.Event, gateway: str, token: str, answers: Counter[str]) -> None:
    """Call an action again and again, over a new connection each time: what is tested lies behind the gateway."""
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    async with httpx.AsyncClient(base_url=gateway, headers=headers, timeout=30, verify=NO_TLS) as http:
        while not over.is_set():
            try:
                answer = await http.post("/v1/actions/bench.price", json=_ORDER)
                answers[f"{answer.status_code} {answer.json().get('code', '')}".strip()] += 1
            except httpx.TransportError as error:
                answers[type(error).__name__] += 1
            await asyncio.sleep(_PAUSE_S)


async def test_no_call_is_lost_while_each_process_is_replaced(tmp_path: Path) -> None:
    """`stylobate restart` of a split platform with two of each: every call of an action is answered with 200."""
    held = {"STYLOBATE_RATELIMIT_EDGE_IP": "6000/second", "STYLOBATE_RATELIMIT_EDGE_USER": "6000/second"}
    with (
        Platform.run(tmp_path / "project", "--split", "--workers", "2", modules=[_BENCH], environ=UNHELD | held) as platform,
        Person(platform.gateway) as caller,
    ):
        caller.register()
        over, answers = asyncio.Event(), Counter[str]()
        calling = [asyncio.create_task(call_until(over, platform.gateway, caller.token, answers)) for _ in range(_CALLERS)]
        said = await asyncio.to_thread(platform.command, "restart")
        over.set()
        await asyncio.gather(*calling)
    assert said.returncode == 0, said.stderr
    print(f"calls during a restart: {dict(answers)}")  # noqa: T201  the figure
    assert set(answers) == {"200"}
