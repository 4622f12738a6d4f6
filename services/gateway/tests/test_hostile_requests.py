"""Requests that no honest client sends: what is not understood is refused as a problem, and nothing runs."""

import asyncio

import pytest
from prometheus_client import REGISTRY
from stylobate.testing.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"content-type": "application/json"}


def post(path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """Return a request as bytes; the connection closes after its answer."""
    lines = (b"POST " + path + b" HTTP/1.1", b"host: x", b"connection: close", b"content-type: application/json", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def calls(gateway) -> int:
    """Return how often the counting action has run, this time included."""
    return (await gateway.http.get("/count")).json()["calls"]


def gone() -> float:
    """Return how many clients were noted as gone."""
    found = REGISTRY.restricted_registry(["stylobate_http_requests_total"]).collect()
    asked = {"method": "POST", "status": "499"}
    return sum(one.value for metric in found for one in metric.samples if asked.items() <= one.labels.items())


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbroken header\r\n\r\n",
        post(b"/count", b"content-length: 1", b"content-length: 2", body=b"{}"),
        post(b"/count", b"content-length: -1", body=b"{}"),
        post(b"/count", b"content-length: " + b"9" * 5000, body=b"{}"),
        post(b"/count", b"content-length: 2", b"transfer-encoding: chunked", body=b"{}"),
        post(b"/count", b"transfer-encoding: chunked", body=b"zz\r\n"),
        post(b"/\xc3\xa4", b"content-length: 0"),
    ],
)
async def test_what_is_not_http_is_answered_as_a_problem(gateway, split_answer, request_bytes) -> None:
    """The server below the application refuses in the form of every other refusal, and closes the connection."""
    status, headers, body = split_answer(await gateway.send(request_bytes))
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert body["request_id"] == headers["x-request-id"]


async def test_a_head_without_end_is_refused(gateway, split_answer) -> None:
    """A client cannot fill the memory with one header that never ends."""
    parts = [b"GET / HTTP/1.1\r\nhost: x\r\nx-a: "] + [b"a" * 16_384] * 6
    status, headers, body = split_answer(await gateway.send(*parts))
    assert (status, body["code"], headers["content-type"]) == (431, "HEADERS_TOO_LARGE", "application/problem+json")


async def test_a_large_body_on_a_kept_connection_is_no_large_head(gateway) -> None:
    """Bodies are not counted as heads, whatever comes before them on the connection."""
    for _ in range(3):
        answer = await gateway.http.post("/echo", content=b'{"inner": {"a": "' + b"a" * 200_000 + b'"}}', headers=JSON)
        assert answer.status_code == 200


@pytest.mark.parametrize("begun", [b"", b"{}"])
async def test_a_client_that_goes_away_has_run_nothing(gateway, begun) -> None:
    """A body that was announced and did not come whole is never taken for the whole body."""
    before, noted = await calls(gateway), gone()
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(post(b"/v1/actions/notes.count", b"content-length: 100", body=begun))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(post(b"/v1/actions/notes.count", b"transfer-encoding: chunked"))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await until(lambda: gone() >= noted + 2, within_s=60)
    assert await calls(gateway) == before + 1


@pytest.mark.parametrize(
    "header",
    [
        b"traceparent: 00-" + b"x" * 30_000,
        "traceparent: ä".encode(),
        b"traceparent: 00-00000000000000000000000000000000-0000000000000000-01",
        "x-request-id: ä".encode(),
        b"x-request-id: " + b"a" * 129,
        b"x-request-id: a b",
        b"x-forwarded-for: " + b"1," * 10_000,
        b"content-type: \xff\xfe",
    ],
)
async def test_odd_headers_harm_nobody(gateway, split_answer, header) -> None:
    """What is not well-formed is not handed on: the call works and gets a request id of ours."""
    status, headers, _ = split_answer(await gateway.send(post(b"/v1/actions/notes.count", header, b"content-length: 0")))
    assert status == 200
    assert len(headers["x-request-id"]) == 36


async def test_two_tokens_are_no_token(gateway, split_answer) -> None:
    """Which of two Authorization headers counts is nobody's to choose."""
    two = (b"authorization: Bearer ada", b"authorization: Bearer eve", b"content-length: 0")
    status, headers, body = split_answer(await gateway.send(post(b"/v1/actions/notes.whoami", *two)))
    assert (status, body["code"]) == (401, "TOKEN_INVALID")
    assert headers["www-authenticate"].startswith("Bearer ")


async def test_unknown_methods_make_no_metric_of_their_own(gateway, split_answer) -> None:
    """The labels of a metric are bounded, whatever clients send."""
    for method in (b"PROPFIND", b"PURGE", b"UNLINK"):
        raw = await gateway.send(method + b" /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert split_answer(raw)[0] == 405
    methods = {
        sample.labels["method"]
        for family in REGISTRY.collect()
        if family.name == "stylobate_http_requests"
        for sample in family.samples
    }
    assert "other" in methods
    assert not methods & {"PROPFIND", "PURGE", "UNLINK"}


async def test_an_encoded_path_is_shown_as_it_was_sent(gateway, is_problem) -> None:
    """The instance of a problem is a URI reference (RFC 9457 §3.1.5)."""
    found = is_problem(await gateway.http.get("/nothing%20h%C3%A4re%0d%0a"), 404, "ROUTE_NOT_FOUND")
    assert found["instance"].lower() == "/nothing%20h%c3%a4re%0d%0a"


async def test_expect_continue_is_answered_before_the_body(gateway) -> None:
    """A client that waits for leave to send its body gets it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(post(b"/echo", b"expect: 100-continue", b"content-length: 2"))
    assert b"100 Continue" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    writer.write(b"{}")
    assert (await asyncio.wait_for(reader.read(), 60)).endswith(b"{}")
    writer.close()
