"""The gateway as it is built, on a real listener, in front of the real actions, state and ratelimit services over memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import entry_points
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import (
    add_RateLimitServiceServicer_to_server,
)
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.app.memory_app import MemoryApp, ServiceName
from stylobate.app.tasks import SupervisedTasks
from stylobate.clients.limit_groups import AnsweredGroups, AskedGroup
from stylobate.declarations import load_declarations
from stylobate.declarations.model import Finding
from stylobate.errors import TokenInvalidError, TokenRevokedError, UnavailableError
from stylobate.health import HealthCheck
from stylobate.identity import DEFAULT_TENANT, Principal, PrincipalKind
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.rpc import CallerChannel, LocalChannel
from stylobate.testing import FakeClock
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import until
from stylobate_gateway.main import build
from stylobate_gateway.settings import GatewaySettings
from stylobate_ratelimit.main import MemoryLimitStore, RateLimiterManager, RateLimitServicer, RateLimitSettings, StandIn

MODULES = Path(__file__).parent / "modules"


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """Run on the loop that the platform runs on."""
    return {"uvloop": uvloop.new_event_loop}


class _Tokens:
    """_Tokens that are names of users: ``ada``, known at once; ``new-ada`` only after verification; ``gone`` revoked.

    ``ada.acme`` is the one of another tenant; ``stylo_…`` are keys of hers.
    """

    def __init__(self) -> None:
        self.verified: list[str] = []

    def cached(self, token: str) -> Principal | None:
        if token == "gone":
            raise TokenRevokedError
        name, _, tenant = token.partition(".")
        return Principal(PrincipalKind.USER, name, tenant or DEFAULT_TENANT) if name.isalpha() else None

    async def verify(self, token: str) -> Principal:
        self.verified.append(token)
        if token.startswith("stylo_"):
            networks = (ip_network("192.0.2.0/24"),) if token.endswith("elsewhere") else ()
            return Principal(PrincipalKind.USER, "ada", is_key=True, scopes=frozenset({"*"}), networks=networks)
        if not token.startswith("new-"):
            raise TokenInvalidError
        return Principal(PrincipalKind.USER, token.removeprefix("new-"))


class _GatewayApp(MemoryApp):
    """What the gateway asks of the process it runs in, beside what every service does."""

    version = "0.0.0"
    trace_ratio = 0.0
    trusts_traces = False

    def __init__(self, modules: str) -> None:
        super().__init__(load_declarations(modules), FakeClock(), {})
        self.verifier = _Tokens()
        key = Ed25519PrivateKey.generate()
        self.identity = ServiceIdentity("gateway", key, {"gateway": key.public_key()})
        self.application: Any = None
        self.express: Any = None
        self.turned_away: Any = None
        self.checks: dict[str, HealthCheck] = {}
        self.left_out: dict[str, Sequence[Finding]] = {}
        self._tasks = SupervisedTasks("gateway")
        self._stack.push_async_callback(self._tasks.close)

    def task(self, name: str, factory: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.start(name, factory)

    def check(self, name: str, check: HealthCheck) -> None:
        self.checks[name] = check

    def http(self, application: Any, *, proxies: Any = (), express: Any = None, turned_away: Any = None) -> None:
        self.application, self.express, self.turned_away = application, express, turned_away

    def channel_as(self, service: str) -> CallerChannel:
        """Return a channel in the name of a service; empty: of nobody."""
        return CallerChannel(LocalChannel(self._server), ServiceName(service).token if service else None)

    def leave_out(self, module: str, findings: Sequence[Finding]) -> None:
        """Run without it, as the platform does."""
        self.left_out[module] = findings


@cache
def _service(name: str) -> Any:
    """Return what a service is declared as."""
    (point,) = entry_points(group="stylobate.services", name=name)
    return point.load()


class _Away(RateLimitServicer):
    """A ratelimit service that cannot be reached."""

    def __init__(self) -> None: ...

    async def CheckLimits(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise UnavailableError


Asked = list[tuple[tuple[str, ...], tuple[str, ...]]]
"""Groups of checks: their levels, and the subjects."""


class _Counting(RateLimitServicer):
    """The ratelimit service, which says what it was asked."""

    def __init__(self, manager: RateLimiterManager, asked: Asked) -> None:
        super().__init__(manager, None, None, None)
        self._asked = asked

    async def CheckLimits(self, request: Any, context: Any) -> Any:  # noqa: N802
        for group in request.groups:
            self._asked.append((tuple(level.rule or level.policy.name for level in group.levels), tuple(group.subjects)))
        return await super().CheckLimits(request, context)

    async def check_here(self, groups: Sequence[AskedGroup]) -> AnsweredGroups | None:
        answered = await super().check_here(groups)
        for group in groups if answered is not None else ():
            levels = tuple(level if isinstance(level, str) else level.name for level in group.key[0])
            self._asked.append((levels, tuple(group.subjects)))
        return answered


class Gateway:
    """A running gateway."""

    def __init__(self, app: _GatewayApp, port: int, http: httpx.AsyncClient, asked: Asked) -> None:
        self.asked = asked
        """What the ratelimit service was asked."""
        self.app = app
        self.port = port
        self.http = http

    async def send(self, *parts: bytes, end: bool = False) -> bytes:
        """Send bytes as they are over a connection of their own; return all that comes back until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end:
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer


@asynccontextmanager
async def running(
    services: tuple[str, ...] = ("state", "actions"), *, is_limiter_away: bool = False, modules: Path = MODULES, **settings: Any
) -> AsyncIterator[Gateway]:
    """Run a gateway in front of these services; limits are counted where a rule is given as ``edge_ip``."""
    rules = {name: settings.pop(name) for name in ("edge_ip", "edge_user") if name in settings}
    asked: Asked = []
    async with _GatewayApp(str(modules)) as app:
        app.counts_limits = bool(rules)
        for name in services:
            await app.build(name, _service(name).in_memory)
        if is_limiter_away:
            app.servicer(add_RateLimitServiceServicer_to_server, _Away())
        if rules:
            manager = RateLimiterManager(MemoryLimitStore(), StandIn(MemoryLimitStore()), RateLimitSettings(**rules).rules)
            servicer = _Counting(manager, asked)
            app.servicer(add_RateLimitServiceServicer_to_server, servicer, RateLimitServicer.ACCESS)
        chosen = GatewaySettings(**{"edge_limits": bool(rules) or is_limiter_away, "catalogue_seconds": 0.05, **settings})
        await app.build("gateway", lambda app: build(app, chosen))
        bound = bind("127.0.0.1:0")
        port = bound.getsockname()[1]
        listener = HttpListener(app.application, bound, grace_s=1, express=app.express)
        await listener.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=60) as client:
                await until(app.checks["catalogue"], lambda found: not ("actions" in services and found.details))
                yield Gateway(app, port, client, asked)
        finally:
            await listener.stop()


_CALLS = frozenset(
    {
        "test_answers",
        "test_browser_sessions",
        "test_charges",
        "test_compression",
        "test_cors",
        "test_edge",
        "test_express",
        "test_forms",
        "test_hostile_requests",
        "test_leftovers",
        "test_preconditions",
        "test_state_routes",
    }
)
"""Tests of what is answered without ASGI where it may be: calls of actions by name with a little JSON, reads of one object."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of such calls both ways, which are to be alike; the others once, as the platform runs."""
    if "is_express" in metafunc.fixturenames:
        lanes = {"express": True, "asgi": False} if metafunc.module.__name__.rpartition(".")[2] in _CALLS else {"express": True}
        metafunc.parametrize("is_express", lanes.values(), ids=lanes, scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(is_express) -> AsyncIterator[Gateway]:
    """Give a gateway as in development; one for all tests of a file, without limits."""
    async with running(express=is_express) as found:
        yield found


@pytest.fixture
def run_gateway(is_express) -> Any:
    """Give the context manager that runs a gateway with settings of the test's own."""
    return partial(running, express=is_express)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Hold the answer against RFC 9457; return the document."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    found: dict[str, Any] = answer.json()
    assert (found["status"], found["code"], found["type"]) == (status, code, f"/problems/{code.lower().replace('_', '-')}")
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


@pytest.fixture
def is_problem() -> Any:
    """Give the check of a problem: answer, status, code."""
    return problem


@pytest.fixture
def split_answer() -> Any:
    """Give the parser of one raw answer: status, headers in lower case, body."""

    def split(raw: bytes) -> tuple[int, dict[str, str], Any]:
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        is_json = "json" in headers.get("content-type", "") and body
        return int(first.split()[1]), headers, orjson.loads(body) if is_json else body

    return split
