"""Clients that go away at any moment, over HTTP and gRPC: nothing is half done, and nothing is left of them."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import orjson
import pytest
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.api.state.v1.state_service_pb2 import PutStateRequest
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.app import HostSettings, Placement
from stylobate.app.host import Host
from stylobate.config import Sources
from stylobate.database import DatabaseManager
from stylobate.identity.service_keys import generate_service_keys
from stylobate.ids import new_id
from stylobate.services import installed_services
from stylobate.testing.databases import Databases
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until

from tests.people import PASSWORD

FILES = {
    "module.yaml": 'name: pairs\nversion: "1.0.0"\n',
    "actions.yaml": "actions:\n  pairs.write: { handler: write, route: POST /pairs, access: authenticated }\n",
    "states.yaml": """
namespaces:
  halves: { access: { read: authenticated, list: authenticated, create: authenticated, write: owner, delete: owner } }
""",
    "module.py": '''
from dataclasses import dataclass
from stylobate.modules import ActionContext, BaseModule

@dataclass
class Pair:
    """Names both halves."""
    id: str

class PairsModule(BaseModule):
    """Writes twice."""
    async def write(self, ctx: ActionContext, pair: Pair) -> str:
        """Write one half, then the other."""
        await ctx.state.put("halves", f"{pair.id}-a", {}, expected_version=0)
        await ctx.state.put("halves", f"{pair.id}-b", {}, expected_version=0)
        return pair.id
''',
}
CLIENTS = 24
WITHIN_S = 30

Served = tuple[Host, str, str, str]
"""The process, where its HTTP and its gRPC are, and the URL of its database."""


@pytest.fixture
async def served(databases: Databases, redis_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """Host every service in this process, on a database of its own."""
    module = tmp_path / "modules" / "pairs"
    module.mkdir(parents=True)
    for name, text in FILES.items():
        (module / name).write_text(text)
    specs = installed_services()
    generate_service_keys(tmp_path / "identity", tuple(specs))
    http, rpc = (f"127.0.0.1:{free_ports(1)}" for _ in range(2))
    async with databases.empty() as url:
        environ = {
            "STYLOBATE_IDENTITY_FOLDER": str(tmp_path / "identity"),
            "STYLOBATE_MODULES": str(module.parent),
            "STYLOBATE_DATABASE_URL": url,
            "STYLOBATE_REDIS_URL": redis_url,
            "STYLOBATE_DRAIN_WAIT": "0s",
            "STYLOBATE_DRAIN_GRACE": "1s",
            "STYLOBATE_RATELIMIT_EDGE_IP": "100000/second gcra",
            "STYLOBATE_RATELIMIT_EDGE_USER": "100000/second gcra",
        }
        sources = Sources(environ=environ, folders=(), generated=tmp_path / "secrets")
        placement = Placement(services=tuple(specs), http=http, grpc=(rpc,), node="one", data=tmp_path)
        async with Host.open(specs, placement, HostSettings.load(sources), sources) as host:
            yield host, http, rpc, url


async def logged_in(http: str) -> str:
    """Return a token of somebody new."""
    account = {"email": f"{new_id()}@example.com", "password": PASSWORD}
    async with httpx.AsyncClient(base_url=f"http://{http}", verify=NO_TLS) as client:
        assert (await client.post("/v1/auth/register", json=account)).status_code == 201
        return str((await client.post("/v1/auth/login", json=account)).json()["access_token"])


async def over_http(http: str, token: str, body: bytes, after_s: float) -> None:
    """Send a call of the action and cut the connection."""
    head = f"POST /pairs HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    host, _, port = http.partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await asyncio.sleep(after_s)
    writer.transport.abort()


@asynccontextmanager
async def channel_of(rpc: str) -> AsyncIterator[grpc.aio.Channel]:
    """Give a connection of its own."""
    async with grpc.aio.insecure_channel(rpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def given_up(call: Any, after_s: float) -> None:
    """Cancel a call after a while."""
    await asyncio.sleep(after_s)
    call.cancel()
    with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await call


async def go_away(served: Served, token: str, way: str, chance: random.Random, longest_s: float) -> None:
    """Call in one way or the other, and go away before, while or after it is carried out."""
    _, http, rpc, _ = served
    key, after_s = new_id(), chance.uniform(0, longest_s)
    body, metadata = orjson.dumps({"id": key}), (("authorization", f"Bearer {token}"),)
    if way == "http":
        await over_http(http, token, body, after_s)
        return
    async with channel_of(rpc) as channel:
        if way == "action":
            request = ExecuteActionRequest(action="pairs.write", input=body, content_type="application/json")
            await given_up(ActionServiceStub(channel).ExecuteAction(request, metadata=metadata, timeout=20), after_s)
        elif way == "state":
            put = PutStateRequest(namespace="halves", key=key, data=b"{}", expected_version=0)
            await given_up(StateServiceStub(channel).PutState(put, metadata=metadata, timeout=20), after_s)
        else:
            put = PutStateRequest(namespace="halves", key=key, data=b"{}", expected_version=0)
            with suppress(grpc.aio.AioRpcError):  # its own deadline comes first
                await StateServiceStub(channel).PutState(put, metadata=metadata, timeout=after_s)


def tasks() -> Counter[str]:
    """Return how many tasks there are of each kind."""
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())


async def left_of(before: Counter[str]) -> Counter[str]:
    """Return which tasks there are beside those before, when what prunes and polls has had the time to come and go."""
    with suppress(AssertionError):
        await until(lambda: not tasks() - before, within_s=WITHIN_S / 3)
    return tasks() - before


async def in_use(host: Host) -> float:
    """Return how many connections to databases are in use or waited for; one more while a database is being opened."""
    services = (await host.status())["services"]
    found = [
        service["dependencies"]["database"]["metrics"] for service in services.values() if "database" in service["dependencies"]
    ]
    return 4 - len(found) + sum(metrics["pool_in_use"] + metrics["waiting"] for metrics in found)


async def _got_through(url: str) -> bool:
    """Return whether anything of anybody was written."""
    async with DatabaseManager.open(url, service="state") as database:
        return bool(await database.fetchval("select exists (select from state where namespace = 'halves')"))


@pytest.mark.parametrize("way", ["http", "action", "state", "deadline"])
async def test_what_goes_away_leaves_nothing(served: Served, way: str) -> None:
    """Each write and its event are both there or neither, in their order, and no task and no connection is left."""
    host, http, _, url = served
    token = await logged_in(http)
    chance = random.Random(way)
    longest_s = 0.02
    while not await _got_through(url):  # what is made once is made; a busy machine takes longer
        longest_s = min(2 * longest_s, 5.0)
        await asyncio.gather(*(go_away(served, token, way, chance, longest_s) for _ in range(CLIENTS)))
    await until(lambda: in_use(host), lambda found: not found, within_s=WITHIN_S)
    left = None
    for _ in range(3):  # a lease that is taken late begins tasks that stay; what calls leave behind they leave each time
        before = tasks()
        for _ in range(10):
            await asyncio.gather(*(go_away(served, token, way, chance, longest_s) for _ in range(CLIENTS)))
        await until(lambda: in_use(host), lambda found: not found, within_s=WITHIN_S)
        left = await left_of(before)
        if not left:
            break
    assert not left
    async with DatabaseManager.open(url, service="state") as database:
        written = await database.fetch("select key, version from state where namespace = 'halves'")
        events = await database.fetch("select subject, version from outbox_event where type like 'state.halves.%'")
    assert sorted(map(tuple, written)) == sorted(map(tuple, events))
    keys = {row["key"] for row in written}
    assert {key.removesuffix("-b") + "-a" for key in keys if key.endswith("-b")} <= keys, "a second half without its first"
    assert keys, "nobody got through: it proves nothing"
