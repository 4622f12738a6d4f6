"""Where a request begins and ends, and what it is then: the listener reads what was sent, no more, no less."""

import asyncio
import subprocess

import orjson
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


CLOSE = b"connection: close\r\n"


def request(*lines: bytes, method: bytes = b"POST", path: bytes = b"/first", body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """Return a request; ``host`` is added unless one is among the lines."""
    lines = lines if any(line.lower().startswith(b"host") for line in lines) else (b"host: x", *lines)
    return b"\r\n".join([method + b" " + path + b" HTTP/" + version, *lines, b"", body])


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: x\r\nx: "
LAST = request(b"connection: close", method=b"GET", path=b"/last")
UPGRADES = (b"h2c", b"foo", b"foo/1, bar", b"TLS/1.0", b"websocketx", b"HTTP/2.0")


def _bodies(body: bytes) -> dict[str, tuple[bytes, ...]]:
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return {
        "length": (b"content-length: %d" % len(body), body),
        "chunked": (b"transfer-encoding: chunked", chunked),
    }


@pytest.mark.parametrize("protocol", UPGRADES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method", [b"POST", b"GET", b"PUT", b"DELETE"])
@pytest.mark.parametrize("split", ["one", "behind the head", "inside the body"])
async def test_an_upgrade_that_is_not_taken_up_is_ignored(echo, answers_in, protocol, framing, method, split) -> None:
    """The request keeps its body, the body is never a request, and the next request is the next one."""
    header, wire = _bodies(SMUGGLED)[framing]
    head = request(
        b"connection: Upgrade, HTTP2-Settings", b"upgrade: " + protocol, b"http2-settings: AAMAAABk", header, method=method
    )
    parts = {
        "one": (head + wire + LAST,),
        "behind the head": (head, wire + LAST),
        "inside the body": (head + wire[:9], wire[9:] + LAST),
    }[split]
    answers = answers_in(await echo.send(*parts))
    assert [(status, said["method"], said["path"], said["body"]) for status, _, said in answers] == [
        (200, method.decode(), "/first", SMUGGLED.decode()),
        (200, "GET", "/last", ""),
    ]
    assert not any(name == "upgrade" for name, _ in answers[0][2]["headers"])
    assert not any("upgrade" in value.lower() for name, value in answers[0][2]["headers"] if name == "connection")


@pytest.mark.parametrize(
    "lines",
    [
        (b"connection: upgrade", b"connection: keep-alive", b"upgrade: foo"),
        (b"connection: keep-alive, Upgrade", b"upgrade: foo", b"upgrade: bar"),
        (b"upgrade: websocket",),
        (b"connection: upgrade",),
    ],
)
async def test_an_upgrade_without_a_body_is_ignored_too(echo, answers_in, lines) -> None:
    """Half an offer is none, whatever lines it stands on; the connection goes on."""
    answers = answers_in(await echo.send(request(*lines, method=b"GET") + LAST))
    assert [said["path"] for _, _, said in answers] == ["/first", "/last"]


@pytest.mark.parametrize("chunk", [b"", b"5\r\nhello\r\n"])
async def test_many_offers_in_a_row_are_all_ignored(echo, answers_in, chunk) -> None:
    """Ten offers in one segment are ten requests."""
    one = request(b"connection: upgrade", b"upgrade: h2c", b"transfer-encoding: chunked", body=chunk + b"0\r\n\r\n")
    answers = answers_in(await echo.send(one * 10 + LAST))
    assert [said["body"] for _, _, said in answers] == ["hello" if chunk else ""] * 10 + [""]


async def test_curl_offers_http2_and_is_answered(echo, answers_in) -> None:
    """`curl --http2` sends its body once, in HTTP/1.1."""
    command = ["curl", "-s", "--http2", "-d", '{"a": 1}', "-m", "10", f"http://127.0.0.1:{echo.port}/curl"]
    try:
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no curl here")
    assert orjson.loads(done.stdout)["body"] == '{"a": 1}'
    assert len(echo.seen) == 1


WEBSOCKET = (b"connection: keep-alive, Upgrade", b"upgrade: WebSocket")


async def test_a_websocket_gets_the_head_and_what_came_behind_it(echo, answers_in) -> None:
    """Nothing of what a hasty client sends is lost."""
    raw = await echo.send(request(*WEBSOCKET, method=b"GET") + b"frames")
    assert raw.startswith(b"WEBSOCKET GET /first HTTP/1.1\r\n")
    assert raw.endswith(b"\r\n\r\nframes")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(*WEBSOCKET, b"content-length: 3", method=b"GET", body=b"abc"), 400),
        (request(*WEBSOCKET, b"transfer-encoding: chunked", method=b"GET", body=b"0\r\n\r\n"), 400),
        (request(*WEBSOCKET, b"host: a", b"host: b", method=b"GET"), 400),
        (b"GET / HTTP/1.1\r\n" + b"\r\n".join(WEBSOCKET) + b"\r\n\r\n", 400),
        (request(*WEBSOCKET, method=b"GET", version=b"1.0"), 200),  # ignored: RFC 9110 section 7.8
    ],
)
async def test_what_is_no_websocket_handshake_is_none(echo, answers_in, sent, status) -> None:
    """A body, a missing host or HTTP/1.0 never opens a socket."""
    assert answers_in(await echo.send(sent))[0][0] == status


# targets


_LONG = {"a path": b"/" + b"a" * 16_384, "a query": b"/?" + b"a=b&" * 4096, "one without end": b"/" + b"a" * 600_000}


@pytest.mark.parametrize("kind", _LONG)
@pytest.mark.parametrize("split", [1, 2])
async def test_targets_are_bounded(echo, answers_in, kind, split) -> None:
    """Over 16 KiB the answer is 414 and the connection closes, however it comes; nothing has run."""
    sent = request(method=b"GET", path=_LONG[kind])
    parts = (sent,) if split == 1 else (sent[:9000], sent[9000:])
    ((status, headers, problem),) = answers_in(await echo.send(*parts))
    assert (status, problem["code"], headers["connection"]) == (414, "URI_TOO_LONG", "close")
    assert echo.seen == []
    ((status, _, said),) = answers_in(await echo.send(request(CLOSE.strip(), method=b"GET", path=b"/" + b"a" * 16_383)))
    assert (status, len(said["path"])) == (200, 16_384)


# trailers


@pytest.mark.parametrize("split", [1, 2, 3])
async def test_trailers_are_never_fields_of_the_request(echo, answers_in, split) -> None:
    """Whether they come with the body or after it, they are dropped (RFC 9110 section 6.5.1)."""
    head = request(b"transfer-encoding: chunked", b"trailer: authorization", CLOSE.strip())
    tail = b"2\r\n{}\r\n0\r\nAuthorization: Bearer ada\r\nHost: y\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    parts = {1: (head + tail,), 2: (head, tail), 3: (head + tail[:9], tail[9:20], tail[20:])}[split]
    ((status, _, said),) = answers_in(await echo.send(*parts))
    assert status == 200
    assert {name for name, _ in said["headers"]} == {"host", "transfer-encoding", "trailer", "connection"}


_TRAILERS = {
    "many small ones": b"a: b\r\n" * 100_000,
    "one without end": b"a: " + b"b" * 600_000,
    "one name without end": b"a" * 600_000,
    "just over": b"".join(b"field-%d: %s\r\n" % (number, b"x" * 1000) for number in range(9)),
}


@pytest.mark.parametrize("kind", _TRAILERS)
@pytest.mark.parametrize("split", [1, 2])
async def test_trailers_are_bounded(echo, answers_in, kind, split) -> None:
    """Over 8 KiB the answer is 431 and the connection closes; nothing has run."""
    head = request(b"transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n"
    parts = (head + _TRAILERS[kind] + b"\r\n",) if split == 1 else (head, _TRAILERS[kind] + b"\r\n")
    ((status, headers, problem),) = answers_in(await echo.send(*parts))
    assert (status, problem["code"], headers["connection"]) == (431, "HEADERS_TOO_LARGE", "close")
    assert echo.seen == []


_CHUNKS = {
    "an extension without end": b"2;" + b"a" * 600_000,
    "extensions": b"2;a=b;" + b"c" * 1000 + b"\r\n{}\r\n",
    "a size without end": b"0" * 600_000,
    "crumbs": b"1\r\na\r\n" * 100_000,
}


@pytest.mark.parametrize("kind", _CHUNKS)
async def test_chunks_that_carry_no_data_are_refused(echo, answers_in, kind) -> None:
    """What surrounds the data of a body is bounded too."""
    wire = _CHUNKS[kind] * (600 if kind == "extensions" else 1)
    ((status, _, problem),) = answers_in(await echo.send(request(b"transfer-encoding: chunked"), wire))
    assert (status, problem["code"]) == (400, "MALFORMED_REQUEST")
    assert echo.seen == []


async def test_a_large_chunked_body_is_taken(echo, answers_in) -> None:
    """Honest chunks of any usual size pass, with small extensions and trailers."""
    for size, count in ((1, 500), (100, 5000), (65_536, 30)):
        wire = (b"%x;a=b\r\n" % size + b"x" * size + b"\r\n") * count + b"0\r\nchecksum: 1\r\n\r\n"
        ((status, _, said),) = answers_in(await echo.send(request(b"transfer-encoding: chunked", CLOSE.strip()) + wire))
        assert (status, len(said["body"])) == (200, size * count)


# heads


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (request(b"host: a", b"host: b", method=b"GET"), 400),
        (request(b"host: a", b"host: a", method=b"GET"), 400),
        (request(b"host: a, b", b"connection: close", method=b"GET"), 400),
        (request(b"host: a b", method=b"GET"), 400),
        (request(b"host: a/b", method=b"GET"), 400),
        (request(b"host: user@a", method=b"GET"), 400),
        (request(b"host: a:b", method=b"GET"), 400),
        (request(b"host: [::1", method=b"GET"), 400),
        (request(b"host: a", b"host: b", method=b"GET", version=b"1.0"), 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (request(b"host:", CLOSE.strip(), method=b"GET"), 200),
        (request(b"host: [::1]:80", CLOSE.strip(), method=b"GET"), 200),
        (request(b"host: a.example:8080", CLOSE.strip(), method=b"GET"), 200),
        (request(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
        (request(b"transfer-encoding: identity"), 400),
        (request(b"transfer-encoding: chunked", b"transfer-encoding: chunked", body=b"0\r\n\r\n"), 400),
        (request(b"transfer-encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"), 400),
        (request(b"transfer-encoding: chunked", b"content-length: 5", body=b"0\r\n\r\n"), 400),
        (request(b"content-length: 5, 5", body=b"hello"), 400),
        (request(b"content-length: 5", b"content-length: 5", body=b"hello"), 400),
        (request(b"content-length: +5", body=b"hello"), 400),
        (request(b"a : b", method=b"GET"), 400),
        (request(b"a: b\rc: d", method=b"GET"), 400),
        (request(b"a: b\x00c", method=b"GET"), 400),
        (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\nhost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        (b"CONNECT /path HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        (request(*(b"a: b" for _ in range(200)), method=b"GET"), 431),
        (request(*(b"a: b" for _ in range(100)), CLOSE.strip(), method=b"GET"), 200),
        (b"\r\n" * 40_000, 431),
    ],
)
async def test_heads(echo, answers_in, sent, status) -> None:
    """What RFC 9112 tells a server to refuse is refused, in one segment and in two, and the connection closes."""
    for parts in ((sent,), (sent[: len(sent) // 2], sent[len(sent) // 2 :])):
        seen = len(echo.seen)
        ((found, headers, said),) = answers_in(await echo.send(*parts))
        assert found == status
        assert "GMT" in headers["date"]
        if status == 200:
            continue
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert said["request_id"] == headers["x-request-id"]
        assert len(echo.seen) == seen


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/k", "/k"),
        (b"/k%20", "/k "),
        (b"/k%0A", "/k\n"),
        (b"/%c3%a4", "/ä"),
        (b"/k%EF%BF%BD", "/k\ufffd"),
        (b"/k%ff", None),
        (b"/k%fe", None),
        (b"/%c0%af", None),
        (b"/%ed%a0%80", None),
        (b"/k%", None),
        (b"/k%4", None),
        (b"/k%zz", None),
        (b"/\xc3\xa4", None),
        (b"/k?a=100%", "/k"),
        (b"/k?a=%zz&b=%EF%BF%BD", "/k"),
        (b"/k?a=%c3%a4", "/k"),
        (b"/k?a=%ff", None),
        (b"/k?%ff", None),
        (b"/k?a=%c3&b=%a4", None),
        (b"/k?a=%ed%a0%80", None),
        (b"/k?a=\xc3\xa4", None),
    ],
)
async def test_a_path_is_what_was_sent(echo, answers_in, path, found) -> None:
    """No two spellings become one by chance: what is not UTF-8 is refused, nothing is replaced."""
    ((status, _, said),) = answers_in(await echo.send(request(CLOSE.strip(), method=b"GET", path=path)))
    if found is None:
        assert (status, echo.seen) == (400, [])
    else:
        assert (status, said["path"]) == (200, found)


# several requests


async def test_a_refusal_stands_behind_the_answers_before_it(echo, answers_in) -> None:
    """Nobody takes the refusal of the second request for the answer to the first."""
    first = request(b"content-length: 2", body=b"{}")
    for second in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", request(b"transfer-encoding: chunked", body=b"zz\r\n")):
        answers = answers_in(await echo.send(first * 3 + second + LAST))
        assert [status for status, _, _ in answers] == [200, 200, 200, 400]
        assert answers[-1][1]["connection"] == "close"


async def test_who_sends_too_far_ahead_is_stopped(echo, answers_in) -> None:
    """Those within the bound are answered, then one refusal, then the end."""
    answers = answers_in(await echo.send(request(method=b"GET") * 5000))
    assert [status for status, _, _ in answers] == [200] * 17 + [429]
    assert answers[-1][2]["code"] == "PIPELINE_TOO_LONG"


async def test_a_client_that_has_said_all_is_answered(echo, answers_in) -> None:
    """Ending one's own side of the connection is not a goodbye: what was asked whole is answered, what was not is not."""
    for sent, statuses in ((request(method=b"GET") * 2, [200, 200]), (request(b"content-length: 5", body=b"hell"), [])):
        reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
        writer.write(sent)
        writer.write_eof()
        assert [status for status, _, _ in answers_in(await asyncio.wait_for(reader.read(), 60))] == statuses
        writer.close()
