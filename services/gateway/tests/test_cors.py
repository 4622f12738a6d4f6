"""Which requests the CORS layer answers, and what it says."""

import asyncio
from typing import Any

import httpx
import pytest
from stylobate.http.asgi import Receive, Scope, Send, answer
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
