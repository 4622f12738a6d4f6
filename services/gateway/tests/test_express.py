"""Calls that are answered without ASGI: which they are, and that nobody can tell."""

import asyncio
import re

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from stylobate.errors import CancelledCallError
from stylobate.rpc.local.unary import LocalUnaryMethod
from stylobate.testing.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ECHO = b"POST /v1/actions/notes.echo HTTP/1.1\r\nhost: x\r\n"
JSON = b"content-type: application/json\r\n"
TRACE = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00"
CLOSE = b"connection: close\r\n"
BODY = b'{"inner": null, "n": 1}'
WRITE = b"PUT /v1/state/%b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ada\r\n"
READ = b"GET /v1/state/notes/a HTTP/1.1\r\nhost: x\r\n"
LONG_READ = READ.replace(b"/a ", b"/long ")
CLOSED = READ.replace(b"notes", b"closed")
ADA = b"authorization: Bearer ada\r\n"
LONG = b'{"inner": null, "text": "%s"}' % (b"long " * 1000)
LENGTH = b"content-length: %d\r\n" % len(BODY)


def without_chance(raw: bytes) -> bytes:
    """Return answers without what differs from one to the next, the fields in one order."""
    raw = re.sub(rb"(?m)^(date|x-request-id|server-timing): .*\r\n", b"", raw)
    heads = re.split(rb"(?=HTTP/1\.1 )", re.sub(rb'"request_id":"[^"]*"', b"", raw))
    return b"".join(
        b"\n".join(sorted(head.partition(b"\r\n\r\n")[0].split(b"\r\n"))) + head.partition(b"\r\n\r\n")[2] for head in heads
    )


CALLS = {
    "a call": (ECHO + JSON + LENGTH + b"\r\n" + BODY, True),
    "a caller with a token": (ECHO + JSON + LENGTH + b"authorization: Bearer ada\r\n\r\n" + BODY, True),
    "a token never seen": (ECHO + JSON + LENGTH + b"authorization: Bearer new-ada\r\n\r\n" + BODY, True),
    "a key under its own name": (ECHO + JSON + LENGTH + b"x-api-key: stylo_a\r\n\r\n" + BODY, True),
    "a key and a token": (ECHO + JSON + LENGTH + b"x-api-key: stylo_a\r\nauthorization: Bearer ada\r\n\r\n" + BODY, True),
    "a key from elsewhere": (ECHO + JSON + LENGTH + b"x-api-key: stylo_elsewhere\r\n\r\n" + BODY, True),
    "a token that does not hold": (ECHO + JSON + LENGTH + b"authorization: Bearer nobody7\r\n\r\n" + BODY, True),
    "a long answer": (ECHO + JSON + b"accept-encoding: br\r\ncontent-length: %d\r\n\r\n" % len(LONG) + LONG, True),
    "a compressed one": (ECHO + JSON + b"accept-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(LONG) + LONG, True),
    "no credential at all": (ECHO.replace(b"echo", b"whoami") + JSON + b"content-length: 0\r\n\r\n", True),
    "a defect": (ECHO.replace(b"echo", b"fail") + JSON + b"\r\n", True),
    "a refusal of the module's": (ECHO.replace(b"echo", b"shout") + JSON + b"\r\n", True),
    "no such action": (ECHO.replace(b"echo", b"ecko") + JSON + b"\r\n", True),
    "no JSON": (ECHO + JSON + b"content-length: 1\r\n\r\n{", True),
    "a request id and a trace of the client's": (
        ECHO + JSON + LENGTH + b"x-request-id: mine\r\ntraceparent: " + TRACE + b"\r\n\r\n" + BODY, True,
    ),
    "an address that nobody vouches for": (ECHO + JSON + LENGTH + b"x-forwarded-for: 192.0.2.1\r\n\r\n" + BODY, True),
    "an upgrade that is not taken up": (
        ECHO + JSON + LENGTH + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n" + BODY, True,
    ),
    "a body of 16 KiB": (ECHO + JSON + b"content-length: 16384\r\n\r\n" + b" " * 16_382 + b"{}", True),
    "a longer one": (ECHO + JSON + b"content-length: 16385\r\n\r\n" + b" " * 16_383 + b"{}", False),
    "too long a one": (ECHO + JSON + b"content-length: 1048577\r\n\r\n", False),
    "a body in chunks": (ECHO + JSON + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\na: b\r\n\r\n", False),
    "a body that is waited for": (ECHO + JSON + LENGTH + b"expect: 100-continue\r\n\r\n" + BODY, False),
    "cookies": (ECHO + JSON + LENGTH + b"cookie: a=b\r\n\r\n" + BODY, False),
    "an origin": (ECHO + JSON + LENGTH + b"origin: http://localhost:1\r\n\r\n" + BODY, False),
    "a key": (ECHO + JSON + LENGTH + b"idempotency-key: k\r\n\r\n" + BODY, False),
    "a compressed body": (ECHO + JSON + LENGTH + b"content-encoding: gzip\r\n\r\n" + BODY, False),
    "parameters of the type": (ECHO + b"content-type: application/json; charset=utf-8\r\n" + LENGTH + b"\r\n" + BODY, False),
    "another type": (ECHO + b"content-type: text/plain\r\n" + LENGTH + b"\r\n" + BODY, False),
    "a type twice": (ECHO + JSON + JSON + LENGTH + b"\r\n" + BODY, False),
    "a query": (ECHO.replace(b"echo", b"echo?a=b") + JSON + LENGTH + b"\r\n" + BODY, False),
    "an encoded path": (ECHO.replace(b"echo", b"ech%6F") + JSON + LENGTH + b"\r\n" + BODY, False),
    "HTTP/1.0": (ECHO.replace(b"/1.1", b"/1.0") + JSON + LENGTH + b"\r\n" + BODY, False),
    "another method": (ECHO.replace(b"POST", b"PUT") + JSON + LENGTH + b"\r\n" + BODY, False),
    "a read": (READ + b"\r\n", True),
    "a read with a token": (READ + ADA + b"\r\n", True),
    "a read with a token that does not hold": (READ + b"authorization: Bearer nobody7\r\n\r\n", True),
    "a read with another scheme": (READ + b"authorization: Basic YTpi\r\n\r\n", True),
    "a cached read": (READ.replace(b" HTTP", b"?consistency=cached HTTP") + b"\r\n", True),
    "a strong read": (READ.replace(b" HTTP", b"?consistency=strong HTTP") + b"\r\n", True),
    "HEAD": (READ.replace(b"GET", b"HEAD") + b"\r\n", True),
    "HEAD of a copy": (READ.replace(b"GET", b"HEAD").replace(b" HTTP", b"?consistency=cached HTTP") + b"\r\n", True),
    "HEAD of a long one": (LONG_READ.replace(b"GET", b"HEAD") + b"accept-encoding: gzip\r\n\r\n", True),
    "HEAD of nothing": (READ.replace(b"GET", b"HEAD").replace(b"/a ", b"/none ") + b"\r\n", True),
    "a long one": (LONG_READ + b"\r\n", True),
    "a long one, compressed": (LONG_READ + b"accept-encoding: gzip\r\n\r\n", True),
    "what the reader has": (READ + b'if-none-match: "1"\r\n\r\n', True),
    "a copy that the reader has": (
        READ.replace(b" HTTP", b"?consistency=cached HTTP") + b'if-none-match: "7", W/"1"\r\n\r\n', True,
    ),
    "what the reader has, HEAD": (READ.replace(b"GET", b"HEAD") + b"if-none-match: *\r\n\r\n", True),
    "what the reader has compressed": (LONG_READ + b'if-none-match: "1-gzip"\r\n\r\n', True),
    "what the reader has in two lines": (READ + b'if-none-match: "7"\r\nif-none-match: "1"\r\n\r\n', True),
    "what the reader had": (READ + b'if-none-match: "2"\r\n\r\n', True),
    "a version that must be there": (READ + b'if-match: "1"\r\n\r\n', True),
    "a version that is not there": (READ + b'if-match: "2"\r\n\r\n', True),
    "nothing there": (READ.replace(b"/a ", b"/none ") + b"\r\n", True),
    "nothing there that must be": (READ.replace(b"/a ", b"/none ") + b"if-match: *\r\n\r\n", True),
    "no such namespace": (READ.replace(b"notes", b"nowhere") + b"\r\n", True),
    "no such namespace, with a token": (READ.replace(b"notes", b"nowhere") + ADA + b"\r\n", True),
    "an object of somebody": (CLOSED + ADA + b"\r\n", True),
    "an object of another": (CLOSED + b"authorization: Bearer bob\r\n\r\n", True),
    "an object of somebody, for nobody": (CLOSED + b"\r\n", True),
    "a key that none has": (READ.replace(b"/a ", b"/" + b"k" * 300 + b" ") + b"\r\n", True),
    "a key that none has, for nobody": (CLOSED.replace(b"/a ", b"/" + b"k" * 300 + b" ") + b"\r\n", True),
    "a key with signs": (READ.replace(b"/a ", b"/a~:@.-_ ") + b"\r\n", True),
    "a key like a verb": (READ.replace(b"/a ", b"/watching ") + b"\r\n", True),
    "no body said": (READ + b"content-length: 0\r\n\r\n", True),
    "a read with a type": (READ + b"content-type: text/plain\r\n\r\n", True),
    "a read with an id and a trace": (READ + b"x-request-id: mine\r\ntraceparent: " + TRACE + b"\r\n\r\n", True),
    "a read with a body": (READ + b"content-length: 2\r\n\r\n{}", False),
    "a read with chunks": (READ + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", False),
    "a read with an origin": (READ + b"origin: http://localhost:1\r\n\r\n", False),
    "a read with a key": (READ + b"idempotency-key: k\r\n\r\n", False),
    "an unclear condition": (READ + b"if-none-match: 1\r\n\r\n", False),
    "an unclear condition, for nobody": (CLOSED + b"if-none-match: 1\r\n\r\n", False),
    "an older version": (READ.replace(b" HTTP", b"?version=1 HTTP") + b"\r\n", False),
    "a query twice": (READ.replace(b" HTTP", b"?consistency=cached&consistency=cached HTTP") + b"\r\n", False),
    "an unknown query": (READ.replace(b" HTTP", b"?consistency=weak HTTP") + b"\r\n", False),
    "an empty query": (READ.replace(b" HTTP", b"? HTTP") + b"\r\n", False),
    "an encoded key": (READ.replace(b"/a ", b"/%61 ") + b"\r\n", False),
    "a slash at the end": (READ.replace(b"/a ", b"/a/ ") + b"\r\n", False),
    "the transactions": (READ.replace(b"notes/a", b"transactions/a") + b"\r\n", False),
    "a list": (READ.replace(b"/a ", b" ") + b"\r\n", False),
    "a read in HTTP/1.0": (READ.replace(b"/1.1", b"/1.0") + b"\r\n", False),
}  # fmt: skip


@pytest.fixture(scope="module")
def kept() -> dict[str, bytes]:
    """Give what was answered one way, for the other."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def objects(gateway) -> None:
    """Make what is read."""
    for name in (b"notes/a", b"notes/long", b"closed/a", b"notes/a~:@.-_", b"notes/watching"):
        data = b'{"data": %b}' % (LONG if b"long" in name else BODY)
        made = await gateway.send(WRITE % name + CLOSE + JSON + b"content-length: %d\r\n\r\n" % len(data) + data)
        assert made.startswith(b"HTTP/1.1 200 "), made


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("objects")
async def test_whichever_way_it_is_answered_alike(gateway, is_express, kept, call) -> None:
    """To the byte, but for the date and ids; and what is unusual takes the long way."""
    sent, is_usual = CALLS[call]
    before = gateway.app.express.taken if is_express else 0
    head, end, body = sent.partition(b"\r\n\r\n")
    answer = await gateway.send(head + b"\r\n" + CLOSE.strip() + end + body if b"connection:" not in head else sent, end=True)
    if is_express:
        assert gateway.app.express.taken == before + is_usual
    else:
        assert gateway.app.express is None
    assert answer.startswith(b"HTTP/1.1 ")
    assert kept.setdefault(call, without_chance(answer)) == without_chance(answer)


async def test_answers_come_in_the_order_of_their_requests(gateway) -> None:
    """Calls that take either way, sent ahead on one connection, a slow one among them, are answered one after the other."""
    call = ECHO + JSON + b"content-length: 8\r\n"
    sent = b"".join(
        call + (b"origin: http://localhost:1\r\n" if number % 3 == 2 else b"") + b'\r\n{"n": %d}' % number for number in range(9)
    )
    answer = await gateway.send(sent[:-300], sent[-300:-4], sent[-4:], end=True)
    assert [int(number) for number in re.findall(rb'"n": ?(\d)', answer)] == [*range(9)]
    assert len(re.findall(rb"HTTP/1.1 200 ", answer)) == 9


async def test_a_kept_connection_goes_on(gateway) -> None:
    """One connection, one call after the other, whatever each takes; a body that comes in pieces is waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for number in range(6):
        parts = (
            ECHO + JSON,
            b"origin: http://localhost:1\r\n" if number % 2 else b"",
            b"content-length: 8\r\n\r\n",
            b'{"n":',
            b" %d}" % number,
        )
        for part in parts:
            writer.write(part)
            await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        size = int(re.search(rb"content-length: (\d+)", head)[1])
        assert await reader.readexactly(size) == b'{"n":%d}' % number
    writer.close()


async def test_a_client_that_goes_away_is_counted(gateway) -> None:
    """Before its body is whole: nothing runs, and the count says that it was cancelled."""

    def cancelled() -> float:
        asked = {"method": "POST", "status": str(CancelledCallError().http_status)}
        found = REGISTRY.restricted_registry(["stylobate_http_requests_total"]).collect()
        return sum(one.value for metric in found for one in metric.samples if asked.items() <= one.labels.items())

    before = cancelled()
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(ECHO + JSON + b"content-length: 8\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()
    await until(lambda: cancelled() == before + 1)


@pytest.mark.usefixtures("objects")
async def test_by_plain_values_or_messages_it_is_answered_alike(gateway, monkeypatch) -> None:
    """To the byte: calls of actions reach their service without messages, once it is known who calls, and none can tell."""
    ask_plainly, plain = LocalUnaryMethod.ask_plainly, set[str]()

    def told(*arguments):
        asked = ask_plainly(*arguments)
        plain.update({name} if asked is not None else ())
        return asked

    calls = {name: sent for name, (sent, _) in CALLS.items() if sent.startswith(b"POST ") and CLOSE.strip() not in sent}
    for name, sent in calls.items():
        head, end, body = sent.partition(b"\r\n\r\n")
        whole = (head if b"connection:" in head else head + b"\r\n" + CLOSE.strip()) + end + body
        found = []
        for way in (ask_plainly, told, lambda *_: None):
            monkeypatch.setattr(LocalUnaryMethod, "ask_plainly", way)
            found.append(without_chance(await gateway.send(whole, end=True)))
        assert found[1:] == found[:1] * 2, name
    assert plain >= {
        "a call",
        "a caller with a token",
        "no credential at all",
        "a defect",
        "a refusal of the module's",
        "no JSON",
    }
    assert plain.isdisjoint({"a key", "a key from elsewhere", "a token that does not hold"})
