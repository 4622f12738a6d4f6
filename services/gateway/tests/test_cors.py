"""Which requests the CORS layer answers, and what it says."""

import asyncio
from typing import Any

import httpx
import pytest
from stylobate.app.http_bounds import HttpBounds
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.http.asgi import Receive, Scope, Send, answer
from stylobate.telemetry import REGISTRY
from stylobate.testing.plain_http import NO_TLS
from stylobate_gateway.cors import Cors
from stylobate_gateway.door import Door
from stylobate_gateway.exchange import Exchange

PAGE = "https://shop.example"


async def _hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await answer(send, 200, [], b"hello")


async def _free(_exchange: Exchange, _scope: Scope) -> None:
    """Charge nobody."""


@pytest.fixture
async def client() -> Any:
    """Return a client of a door with one origin allowed."""
    cors = Cors([PAGE], None, _free)
    door = Door(_hello, timeout_s=1, trace_ratio=0, loop=asyncio.get_running_loop(), cors=cors)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://gateway") as made:
        yield made


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_allowed_page_may_read_the_answer(client: httpx.AsyncClient, method: str) -> None:
    """Its origin is named in the answer, which varies by it."""
    found = await client.request(method, "/", headers={"origin": PAGE})
    assert found.headers["access-control-allow-origin"] == PAGE
    assert "origin" in found.headers["vary"].lower()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_page_may_not(client: httpx.AsyncClient, method: str) -> None:
    """No header lets the browser hand the answer to it."""
    found = await client.request(method, "/", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in found.headers


async def test_a_preflight_is_answered_without_the_application(client: httpx.AsyncClient) -> None:
    """The browser learns which methods and headers it may send."""
    asks = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    found = await client.options("/", headers=asks)
    assert found.status_code == 200
    assert "POST" in found.headers["access-control-allow-methods"]
    assert found.text != "hello"


async def test_what_caches_may_keep_says_that_it_varies(client: httpx.AsyncClient) -> None:
    """A GET without an origin must not be served from a cache to a page that has one."""
    assert "origin" in (await client.get("/")).headers["vary"].lower()


async def test_a_post_that_no_page_sent_is_left_alone(client: httpx.AsyncClient) -> None:
    """A client outside of a browser pays nothing for the layer."""
    found = await client.post("/")
    assert found.text == "hello"
    assert "vary" not in found.headers


TRACED = "authorization,baggage,content-type,if-match,if-none-match,traceparent,tracestate,x-request-id"


@pytest.mark.parametrize("asked", [*TRACED.split(","), TRACED, "Authorization, TraceState"])
async def test_a_page_may_send_what_clients_send(client: httpx.AsyncClient, asked: str) -> None:
    """Conditions, a request id and the headers of traces (W3C Trace Context, Baggage) pass."""
    asks = {"origin": PAGE, "access-control-request-method": "PATCH", "access-control-request-headers": asked}
    assert (await client.options("/", headers=asks)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://evil.example"},
        {"access-control-request-method": "TRACE"},
        {"access-control-request-headers": "x-other"},
    ],
)
async def test_a_preflight_is_refused_as_a_problem(client: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    """With a code and a sentence that says what is not let through."""
    found = await client.options("/x", headers={"origin": PAGE, "access-control-request-method": "POST"} | wrong)
    assert (found.status_code, found.headers["content-type"]) == (400, "application/problem+json")
    assert (found.json()["code"], found.json()["instance"]) == ("CORS_REFUSED", "/x")
    assert found.headers.get_list("content-length") == [str(len(found.content))]


async def test_a_page_may_read_that_the_process_has_too_much_to_do() -> None:
    """A refusal that no application has seen names the origin, a preflight is answered, and operators count both."""
    begun, door_opens = asyncio.Event(), asyncio.Event()

    async def hold(scope: Scope, _receive: Receive, send: Send) -> None:
        begun.set()
        await door_opens.wait()
        await answer(send, 200, [], b"hello")

    door = Door(hold, timeout_s=60, trace_ratio=0, loop=asyncio.get_running_loop(), cors=Cors([PAGE], None, _free))
    bound = bind("127.0.0.1:0")
    listener = HttpListener(door, bound, grace_s=1, bounds=HttpBounds(requests=1), turned_away=door.turned_away)
    await listener.start()
    before = {status: _counted(status) for status in ("204", "503")}
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", verify=NO_TLS, timeout=30) as client:
            held = asyncio.create_task(client.get("/held"))
            await begun.wait()
            page, asks = {"origin": PAGE}, {"access-control-request-method": "POST"}
            read, sent, preflight, evil, curl = await asyncio.gather(
                client.get("/", headers=page),
                client.post("/", headers=page),
                client.options("/", headers=page | asks),
                client.options("/", headers={"origin": "https://evil.example"} | asks),
                client.post("/"),
            )
            door_opens.set()
            assert (await held).status_code == 200
    finally:
        await listener.stop()
    for refused in (read, sent, evil, curl):
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "OVERLOADED", "1")
    for told in (read, sent, preflight):
        assert told.headers["access-control-allow-origin"] == PAGE
        assert "origin" in told.headers["vary"].lower()
    assert "Retry-After" in read.headers["access-control-expose-headers"]
    assert (preflight.status_code, preflight.content, "content-length" in preflight.headers) == (204, b"", False)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["x-request-id"]
    assert "access-control-allow-origin" not in evil.headers
    assert "vary" not in curl.headers
    assert {status: _counted(status) - before[status] for status in before} == {"204": 1, "503": 4}


def _counted(status: str) -> float:
    """Return how many requests have ended with the status."""
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return sum(
        found.value for found in samples if found.name == "stylobate_http_requests_total" and found.labels["status"] == status
    )
