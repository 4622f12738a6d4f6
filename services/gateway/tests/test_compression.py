"""Answers that are compressed: for whom, which, and what else is said of them."""

import gzip

import pytest
from stylobate_gateway.compression import Compression, prefers_gzip

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADA = {"authorization": "Bearer ada", "content-type": "application/json"}
GZIP = {"accept-encoding": "br, gzip;q=0.8"}
AS_IT_IS = {"accept-encoding": "identity"}


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (b"gzip", True),
        (b"GZIP", True),
        (b"x-gzip", True),
        (b"br;q=1.0, gzip;q=0.2", True),
        (b"gzip ; q=0.001", True),
        (b"gzip, identity", True),
        (b"identity;q=0.5, gzip", True),
        (b"deflate,gzip;q=1.000", True),
        (b"*, identity;q=0", True),
        (b"", False),
        (b"br", False),
        (b"identity", False),
        (b"gzip;q=0", False),
        (b"gzip;q=0.000, *", False),
        (b"identity, gzip;q=0.5", False),
        (b"*", False),
        (b"*;q=0", False),
        (b"gzip;q=2", False),
        (b"gzip;level=9", False),
        (b"gzip" + b"," * 300, False),
    ],
)
async def test_the_client_decides(accepted, wanted) -> None:
    """By weights, whatever their order; what cannot be read is not taken for consent (RFC 9110 §12.5.3)."""
    assert prefers_gzip(accepted) is wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ([], True),
        ([(b"content-type", b"text/html; charset=utf-8")], True),
        ([(b"content-type", b"application/problem+json")], True),
        ([(b"content-type", b"image/png")], False),
        ([(b"content-length", b"99")], False),
        ([(b"cache-control", b"no-store")], False),
        ([(b"cache-control", b"public, no-transform")], False),
        ([(b"content-encoding", b"br")], False),
        ([(b"content-range", b"bytes 0-999/2000")], False),
    ],
)
async def test_some_answers_are_left_as_they_are(fields, wanted) -> None:
    """What is short, coded, no text, a part; what tells of an account or may not be changed on its way."""
    answer = {b"content-type": b"application/json", b"content-length": b"100"} | dict(fields)
    assert Compression(100).concerns([*answer.items()]) is wanted


@pytest.mark.parametrize("size", [5_000, 10_000, 200_000], ids=["short", "longer", "long"])
@pytest.mark.parametrize("origin", [{}, {"origin": "http://localhost:1"}], ids=["a client", "a page"])
async def test_a_long_answer_is_compressed(gateway, size, origin) -> None:
    """It says so, holds the same, and caches are told on what it depends, also where it is as it was."""
    body = {"inner": None, "text": "word " * (size // 5)}
    found = await gateway.http.post("/v1/actions/notes.echo", json=body, headers=GZIP | origin)
    plain = await gateway.http.post("/v1/actions/notes.echo", json=body, headers=AS_IT_IS | origin)
    assert found.headers["content-encoding"] == "gzip"
    assert int(found.headers["content-length"]) < size / 10
    assert "content-encoding" not in plain.headers
    assert found.json() == plain.json() == body
    varies = ["accept-encoding", *(["origin"] if origin else [])]
    for answer in (found, plain):
        assert [part.strip().lower() for part in answer.headers["vary"].split(",")] == varies


async def test_a_short_answer_is_left_alone(gateway) -> None:
    """Nor does it vary."""
    found = await gateway.http.post("/v1/actions/notes.echo", json={"inner": None}, headers=GZIP)
    assert {"content-encoding", "vary"}.isdisjoint(found.headers)


async def test_a_compressed_object_has_a_tag_of_its_own(gateway) -> None:
    """It is strong, and a condition on either tag is one on the version; 304 names the one that the reader has."""
    path = "/v1/state/notes/packed"
    await gateway.http.put(path, json={"data": {"text": "word " * 2000}}, headers=ADA)
    packed = await gateway.http.get(path, headers=ADA | GZIP)
    plain = await gateway.http.get(path, headers=ADA | AS_IT_IS)
    assert (packed.headers["etag"], plain.headers["etag"]) == ('"1-gzip"', '"1"')
    assert packed.json() == plain.json()
    for tag in ('"1-gzip"', '"1"'):
        unchanged = await gateway.http.get(path, headers=ADA | GZIP | {"if-none-match": tag})
        assert (unchanged.status_code, unchanged.headers["etag"], unchanged.content) == (304, tag, b"")
    assert (await gateway.http.patch(path, json={"n": 1}, headers=ADA | {"if-match": '"1-gzip"'})).status_code == 200
    assert (await gateway.http.patch(path, json={"n": 1}, headers=ADA | {"if-match": '"1-gzip"'})).status_code == 412


async def test_a_head_says_what_a_get_says(gateway) -> None:
    """Field by field, but for what is of the moment; what comes in pieces is not compressed."""
    for path in ("/openapi.json", "/static-offline-docs/swagger-ui.css"):
        get, head = [await gateway.http.request(method, path, headers=GZIP) for method in ("GET", "HEAD")]
        of_the_moment = {"x-request-id", "date", "server-timing"}
        assert {n: v for n, v in get.headers.items() if n not in of_the_moment} == {
            n: v for n, v in head.headers.items() if n not in of_the_moment
        }
        assert get.status_code == head.status_code == 200
        assert head.content == b""
    assert (await gateway.http.get("/openapi.json", headers=GZIP)).headers["content-encoding"] == "gzip"


async def test_it_can_be_switched_off(run_gateway, split_answer) -> None:
    """Every answer is as it is then, and says nothing of it."""
    body = b'{"inner": null, "text": "%s"}' % (b"word " * 2000)
    head = b"POST /v1/actions/notes.echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    async with run_gateway(compress_bytes=0) as gateway:
        raw = await gateway.send(head + b"accept-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        status, headers, found = split_answer(raw)
        assert (status, {"content-encoding", "vary"}.isdisjoint(headers), found["text"]) == (200, True, "word " * 2000)
    async with run_gateway() as gateway:
        raw = await gateway.send(head + b"accept-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert b"word word" in gzip.decompress(raw.partition(b"\r\n\r\n")[2])
